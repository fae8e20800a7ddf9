// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// What every store does alike: from the stored state and a wish to the rows to write. Pure; the
/// databases only carry the rows out.
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

/// One object as a row. `kind` is also the table's name in the document.
struct Row {
  std::string_view kind;
  std::string id, body;
  std::optional<std::string> network_info;
};

/// One transaction's work. Empty rows and entries: nothing changes, `next` is what is stored.
struct Step {
  Inventory next;
  std::vector<Row> put;
  std::vector<std::pair<std::string_view, std::string>> erase;
  std::vector<Ec2Ledger::Entry> ec2;

  [[nodiscard]] bool changes() const { return !put.empty() || !erase.empty() || !ec2.empty(); }
};

/// @see Store::replace. ErrorCode::conflict: the document claims an EC2 name that is another's.
Result<Step> step_replace(const Inventory& stored, const Ec2Ledger& ledger,
                          const Inventory& wanted);
/// @see Store::set_password.
Result<Step> step_set_password(const Inventory& stored, std::string_view instance_id,
                               std::string_view text);
Result<Step> step_clear_password(const Inventory& stored, std::string_view instance_id);

/// The password a guest has posted; empty: none.
std::string password_of(const Instance& instance);

/// Puts a row just read into its table. Rows may come in any order.
Status add_row(Inventory& inventory, std::string_view kind, std::string_view body,
               std::optional<std::string> network_info);

}  // namespace metatap
