// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "agent/inventory_directory.hpp"
#include "agent/ovn_feed.hpp"

namespace metatap::agent {

/// Answers from what OVN says of this host, or said last. Until both databases have been read once,
/// and this chassis is in them, and while it is in doubt whose a port is, it cannot tell an unknown
/// port from one not heard of yet: ErrorCode::unavailable.
///
/// Made on the feed's thread; lookups on any thread. The feed calls it as long as it runs.
class OvnDirectory final : public Directory {
 public:
  explicit OvnDirectory(OvnFeed& feed) : index_(*feed.inventory()), ready_(feed.ready()) {
    feed.subscribe([this, &feed](const InventoryChange& change) {
      if (!feed.ready()) {
        ready_.store(false, std::memory_order_release);  // before anybody loses his owner
      }
      index_.apply(change);
      ready_.store(feed.ready(), std::memory_order_release);
    });
  }

  [[nodiscard]] Result<Identity> known(const DirectoryQuery& query) const override {
    // On both sides: neither what is known only after the look, nor what is in doubt by then, is
    // "not found".
    const bool ready = ready_.load(std::memory_order_acquire);
    auto identity = index_.known(query);
    if (!identity && !(ready && ready_.load(std::memory_order_acquire))) {
      return fail(ErrorCode::unavailable, "OVN cannot be asked whose port that is");
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
