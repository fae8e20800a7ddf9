// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "dataplane/callers.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

/// An address that a guest chose itself stands in the programs' maps alone, and who reads guests'
/// bytes may not ask the kernel for them. So it asks whoever may; for ports without a fixed
/// address, once a connection.
namespace metatap::dataplane {

/// Answers from the slot table, on a thread of its own: what attaches programs meanwhile is not
/// waited for.
class LearnedAddressServer {
 public:
  static Result<std::unique_ptr<LearnedAddressServer>> start(
      std::shared_ptr<const SlotTable> slots);
  ~LearnedAddressServer();

  /// For the one who asks.
  [[nodiscard]] int other_end() const { return theirs_.get(); }

 private:
  LearnedAddressServer(std::shared_ptr<const SlotTable> slots, UniqueFd ours, UniqueFd theirs);
  void serve() const;

  std::shared_ptr<const SlotTable> slots_;
  UniqueFd ours_, theirs_;
  std::thread thread_;
};

/// Asks over the other end. Any thread; nullopt after a tenth of a second without an answer. Where
/// nobody is who could answer, because the supervisor is being replaced, the address is the
/// unspecified one: whose the alias is is known all the same.
class RemoteLearnedAddresses final : public LearnedAddresses {
 public:
  explicit RemoteLearnedAddresses(UniqueFd fd);
  [[nodiscard]] std::optional<Address> address_of(const Alias& alias, int family) const override;

 private:
  UniqueFd fd_;
  mutable std::mutex asking_;
  mutable std::uint64_t questions_ = 0;
};

}  // namespace metatap::dataplane
