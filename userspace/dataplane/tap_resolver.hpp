// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "dataplane/callers.hpp"
#include "metatap/origin.hpp"

namespace metatap::dataplane {

/// Names the callers of the listeners in the metadata namespace: peer address → alias → slot →
/// origin, with the socket's mark as a second witness. Thread-safe.
class TapResolver : public CallerResolver {
 public:
  TapResolver(std::shared_ptr<const CallerView> slots,
              std::shared_ptr<const LearnedAddresses> learned)
      : slots_(std::move(slots)), learned_(std::move(learned)) {}

  /// The address is the fixed one that the guest asked from, else the port's first fixed one: never
  /// what a guest may choose (link-local, an address pair's, learned), unless the port has no fixed
  /// address at all. Of a device that no port has yet there is none.
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;
  /// Of a connection with that peer and mark.
  [[nodiscard]] Caller caller_of(const Address& peer, std::uint32_t mark) const;

 private:
  std::shared_ptr<const CallerView> slots_;
  std::shared_ptr<const LearnedAddresses> learned_;
};

}  // namespace metatap::dataplane
