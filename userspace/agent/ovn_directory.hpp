// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "agent/inventory_directory.hpp"
#include "agent/ovn_feed.hpp"

namespace metatap::agent {

/// Answers from what OVN binds to this chassis. Until both databases have been read once it cannot
/// tell an unknown port from one not heard of yet: ErrorCode::unavailable.
///
/// Made on the feed's thread; lookups on any thread. The feed calls it as long as it runs.
class OvnDirectory final : public Directory {
 public:
  explicit OvnDirectory(OvnFeed& feed) : index_(*feed.inventory()), ready_(feed.ready()) {
    feed.subscribe([this](const InventoryChange& change) {
      index_.apply(change);
      ready_.store(true, std::memory_order_release);
    });
  }

  [[nodiscard]] Result<Identity> known(const DirectoryQuery& query) const override {
    if (!ready_.load(std::memory_order_acquire)) {
      return fail(ErrorCode::unavailable, "the OVN databases have not been read yet");
    }
    return index_.known(query);
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
