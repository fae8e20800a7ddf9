// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "agent/inventory_directory.hpp"
#include "agent/ovn_feed.hpp"

namespace metatap::agent {

/// Answers from what OVN says of this host. Until both databases have been read once, and this
/// chassis is in them, it cannot tell an unknown port from one not heard of yet:
/// ErrorCode::unavailable.
///
/// Made on the feed's thread; lookups on any thread. The feed calls it as long as it runs.
class OvnDirectory final : public Directory {
 public:
  explicit OvnDirectory(OvnFeed& feed) : index_(*feed.inventory()), ready_(feed.ready()) {
    feed.subscribe([this, &feed](const InventoryChange& change) {
      index_.apply(change);
      ready_.store(feed.ready(), std::memory_order_release);
    });
  }

  [[nodiscard]] Result<Identity> known(const DirectoryQuery& query) const override {
    // In this order: what became ready after the look would otherwise be "not found".
    const bool ready = ready_.load(std::memory_order_acquire);
    auto identity = index_.known(query);
    if (!identity && !ready) {
      return fail(ErrorCode::unavailable, "the OVN databases have not been read yet");
    }
    return identity;
  }
  [[nodiscard]] boost::asio::awaitable<Result<Identity>> find(const DirectoryQuery& query,
                                                              Freshness /*freshness*/) override {
    co_return known(query);
  }
  [[nodiscard]] bool current() const override { return true; }

 private:
  InventoryDirectory index_;
  std::atomic<bool> ready_;
};

}  // namespace metatap::agent
