// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "inventory/plan.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"
#include "metatap/store.hpp"

namespace metatap {

class Config;

struct InventoryOptions {
  std::string connection;  ///< [database] connection
  std::filesystem::path state_path = "/var/lib/metatap";
  std::optional<std::filesystem::path> file;  ///< [inventory] file

  static Result<InventoryOptions> from(const Config& config);
};

/// The one owner of the inventory: holds the store, publishes each committed state, tells the
/// subscribers what has changed, and follows `[inventory] file`. Lives on the control thread: all
/// calls are made there, but for current() and the two coroutines, which may come from any thread.
/// A document that is refused, or a store that fails, leaves what is served as it was.
class InventoryService {
 public:
  using Subscriber = std::function<void(const InventoryChange&)>;

  /// `control` is the executor of the control thread and outlives the service.
  InventoryService(boost::asio::any_io_executor control, std::unique_ptr<Store> store,
                   InventoryOptions options = {});
  /// Opens the store the options name.
  static Result<std::unique_ptr<InventoryService>> open(boost::asio::any_io_executor control,
                                                        InventoryOptions options);
  ~InventoryService();
  InventoryService(const InventoryService&) = delete;
  InventoryService& operator=(const InventoryService&) = delete;

  /// Loads what is stored, applies the file, and begins to watch it. A broken file is logged and
  /// shows in state(); it does not stop the start.
  [[nodiscard]] Status start();
  /// Stops watching; nothing is called back any more.
  void stop();

  /// Reads the file now, whether or not it seems to be the one that was read last.
  void read_file_again();

  /// The state to serve; never null. Any thread.
  [[nodiscard]] std::shared_ptr<const Inventory> current() const;

  /// Called on the control thread after each commit, once the new state is published, in the order
  /// of subscription. Subscribe before start(), and no change is missed: the first call brings all
  /// that was stored. Whoever is made later begins with current().
  void subscribe(Subscriber subscriber);

  /// Makes the inventory what the document says.
  [[nodiscard]] Result<Plan> apply(std::string_view document, bool dry_run = false);
  /// Puts one instance (its JSON object), or the objects of a partial document, in.
  enum class Mode : std::uint8_t {
    add,  ///< ErrorCode::conflict if an object of it is there already
    set,  ///< replaces those that are there
  };
  [[nodiscard]] Result<Plan> put(std::string_view document, Mode mode);
  /// Removes the instance and the ports that are its own.
  [[nodiscard]] Result<Plan> remove_instance(std::string_view uuid);

  /// @see Store::set_password. Returns once it is durable and published.
  [[nodiscard]] boost::asio::awaitable<Status> set_password(std::string instance, std::string text);
  [[nodiscard]] boost::asio::awaitable<Status> clear_password(std::string instance);

  struct State {
    std::uint64_t revision = 0;
    std::size_t networks = 0, subnets = 0, routers = 0, ports = 0, instances = 0;
    Store::Health store;
    std::string file;        ///< empty: none is followed
    std::string file_error;  ///< why the file's present contents are not served; empty: they are
    std::int64_t file_applied_at = 0;  ///< seconds since the epoch; 0: never
  };
  [[nodiscard]] State state() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap
