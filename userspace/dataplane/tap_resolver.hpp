// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "dataplane/slot_table.hpp"
#include "metatap/origin.hpp"

namespace metatap::dataplane {

/// Names the callers of the listeners in the metadata namespace: peer address → alias → slot →
/// origin, with the socket's mark as a second witness. Thread-safe.
class TapResolver : public CallerResolver {
 public:
  explicit TapResolver(std::shared_ptr<const SlotTable> slots) : slots_(std::move(slots)) {}

  /// The address is the fixed one that the guest asked from, else the port's first fixed one: never
  /// what a guest may choose (link-local, an address pair's, learned), unless the port has no fixed
  /// address at all.
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;

 private:
  std::shared_ptr<const SlotTable> slots_;
};

}  // namespace metatap::dataplane
