// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// What every store does alike: from the stored state and a wish to the change that is due. Pure;
/// the databases only carry it out, as the rows rows_of() makes of it.
namespace metatap {

/// EC2 names are numbers: one row of them for instances, one for images, kernels and ramdisks. A
/// number once given to a uuid is its own for ever, also when the uuid is gone (Nova's
/// instance_id_mappings and s3_images).
class Ec2Ledger {
 public:
  enum class Space : std::uint8_t { instance, image };
  struct Entry {
    Space space = Space::instance;
    std::uint32_t number = 0;
    std::string uuid;
  };

  [[nodiscard]] std::optional<std::uint32_t> number_of(Space space, std::string_view uuid) const;
  [[nodiscard]] const std::string* owner_of(Space space, std::uint32_t number) const;
  /// The number after the highest ever given.
  [[nodiscard]] std::uint32_t next(Space space) const;
  void add(const Entry& entry);

 private:
  struct Numbers {
    std::map<std::string, std::uint32_t, std::less<>> by_uuid;
    std::map<std::uint32_t, std::string> by_number;
  };
  std::array<Numbers, 2> spaces_;
};

/// One transaction's work.
struct Step {
  InventoryChange change;  ///< from what is stored; `after` is the same object if nothing changes
  std::vector<Ec2Ledger::Entry> ec2;

  [[nodiscard]] bool changes() const { return !change.empty() || !ec2.empty(); }
};

/// @see Store::replace. ErrorCode::conflict: the document claims an EC2 name that is another's.
Result<Step> step_replace(const std::shared_ptr<const Inventory>& stored, const Ec2Ledger& ledger,
                          const Inventory& wanted);
/// @see Store::set_password.
Result<Step> step_set_password(const std::shared_ptr<const Inventory>& stored,
                               std::string_view instance_id, std::string_view text);
Result<Step> step_clear_password(const std::shared_ptr<const Inventory>& stored,
                                 std::string_view instance_id);

/// `wanted` with the ids and the password that the stored `old` one keeps whatever it says.
std::shared_ptr<const Instance> with_kept_ids(const Instance& wanted, const Instance& old);

/// The password a guest has posted; empty: none.
std::string password_of(const Instance& instance);

}  // namespace metatap
