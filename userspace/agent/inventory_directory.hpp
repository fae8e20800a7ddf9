// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/place.hpp"
#include "base/published.hpp"
#include "metatap/directory.hpp"
#include "metatap/model.hpp"
#include "metatap/persistent_map.hpp"

namespace metatap::agent {

/// Answers from the inventory. known() always decides; nothing is ever waited for.
///
/// set() and apply() are called on one thread; lookups on any. The index is immutable and published
/// as a whole; a change replaces only the parts it touches, so that one port among ten thousand
/// costs microseconds. A port counts when it, its network and (for a question about one) the router
/// are administratively up. A port without device_id counts as a match and answers not_found.
class InventoryDirectory final : public Directory {
 public:
  /// `complete`: whether a port that is not there is known not to be, ErrorCode::unavailable while
  /// it is not; any thread. None: it is.
  explicit InventoryDirectory(const Inventory& inventory = {},
                              std::function<bool()> complete = nullptr);

  /// Builds everything anew.
  void set(const Inventory& inventory);
  /// Follows one commit.
  void apply(const InventoryChange& change);

  [[nodiscard]] Result<Identity> known(const DirectoryQuery& query) const override;
  [[nodiscard]] boost::asio::awaitable<Result<Identity>> find(const DirectoryQuery& query,
                                                              Freshness freshness) override;
  [[nodiscard]] bool current() const override { return true; }

  [[nodiscard]] std::size_t ports() const;

 private:
  struct Entry {
    std::string port_id;
    Identity identity;
    std::vector<std::string> keys;      ///< under which places it is found
    std::string router_id, network_id;  ///< set for a router's interface
  };
  using EntryPtr = std::shared_ptr<const Entry>;
  template <class Value>
  using Map = PersistentMap<Value, ByHash>;
  struct Index {
    Map<EntryPtr> ports;
    Map<std::vector<EntryPtr>> places;
    /// Networks of a router, once for each of its interfaces.
    Map<std::vector<std::string>> routers;

    // A port goes in and out as a whole: with every place it is found at.
    void add(EntryPtr entry);
    void remove(std::string_view port_id);
  };

  static EntryPtr entry_of(const Inventory& inventory, const Port& port);

  [[nodiscard]] Result<Identity> look_up(const DirectoryQuery& query) const;

  Published<Index> index_;
  const std::function<bool()> complete_;
};

}  // namespace metatap::agent
