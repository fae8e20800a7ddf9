// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
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

/// What says which guests there are.
enum class InventorySource : std::uint8_t {
  database,  ///< and with it `metatap apply` and `metatap instance`
  file,
  libvirt,
};

struct InventoryOptions {
  InventorySource source = InventorySource::database;  ///< [inventory] source, or file being set
  std::string database;                                ///< [inventory] database
  std::filesystem::path state_path = "/var/lib/metatap";
  std::optional<std::filesystem::path> file;  ///< [inventory] file
  /// [inventory] database_timeout: how long the database may take for an answer, and how long a
  /// guest's password, or a change of one object, waits for it in all.
  std::chrono::milliseconds database_timeout{5'000};
  std::string host;         ///< [DEFAULT] host: this one, as ports are bound to it
  bool holds_part = false;  ///< [inventory] scope = host: what that host's ports need is all

  static Result<InventoryOptions> from(const Config& config);
  /// An error where only a part of the inventory is held.
  [[nodiscard]] Status whole() const;
  /// An error where commands may not change it: it is a part, or something else says what there is.
  [[nodiscard]] Status editable() const;
};

/// The one owner of the inventory: holds the store, publishes each state that it has, tells the
/// subscribers what has changed, and follows `[inventory] file`. Lives on the control thread: all
/// calls are made there, but for current(), known() and the two passwords' coroutines, which may
/// come from any thread. What may have to wait, for a database or a file, does so on a thread of
/// its own, and nobody waits for that without a limit; what it did is published in the order in
/// which it was done, also when nobody waits for it any more.
///
/// A document that is refused, or a store that fails, leaves what is served as it was. A store that
/// cannot be reached at the start leaves what a copy on this host says it had last.
///
/// The source of truth is the store, unless the options name the file or another program: then
/// these alone change what there is, and apply(), put() and remove_instance() are refused.
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

  /// Loads what is stored, applies the file, and begins to watch it. Waits for that, but not for
  /// long: before the control thread's loop runs. A store that cannot be reached or a broken file
  /// is logged and shows in state(); it does not stop the start. A store that refuses (it is
  /// another program's, its schema is newer) does.
  [[nodiscard]] Status start();
  /// Stops watching; nothing is called back any more.
  void stop();

  /// Reads the file now, whether or not it seems to be the one that was read last.
  void read_file_again();
  /// Makes the inventory what another program says, where that is the source.
  void follow(std::string document);

  /// The state to serve; never null. Any thread.
  [[nodiscard]] std::shared_ptr<const Inventory> current() const;
  /// False until the inventory was once known: what current() lacks may then well be there. Any
  /// thread.
  [[nodiscard]] bool known() const;

  /// Called on the control thread after each commit, once the new state is published, in the order
  /// of subscription. Subscribe before start(), and no change is missed: the first call brings all
  /// that was stored. Whoever is made later begins with current().
  void subscribe(Subscriber subscriber);
  /// Called on the control thread when known() has become true.
  void on_known(std::function<void()> callback);

  /// Makes the inventory what the document says.
  [[nodiscard]] boost::asio::awaitable<Result<Plan>> apply(std::string document);
  /// The inventory as a document that apply() takes. Refused where only a part is held.
  [[nodiscard]] Result<std::string> document() const;
  /// What apply() would do. Asks nobody, and so also where a file is the source of truth. Refused
  /// where only a part is held.
  [[nodiscard]] Result<Plan> rehearse(std::string_view document) const;
  /// Puts one instance (its JSON object), or the objects of a partial document, in.
  enum class Mode : std::uint8_t {
    add,  ///< ErrorCode::conflict if an object of it is there already
    set,  ///< replaces those that are there
  };
  [[nodiscard]] boost::asio::awaitable<Result<Plan>> put(std::string document, Mode mode);
  /// Removes the instance and the ports that are its own.
  [[nodiscard]] boost::asio::awaitable<Result<Plan>> remove_instance(std::string uuid);

  /// @see Store::set_password. Returns once it is durable and published; ErrorCode::unavailable
  /// after `database_timeout`, and then it may still be stored later.
  [[nodiscard]] boost::asio::awaitable<Status> set_password(std::string instance, std::string text);
  [[nodiscard]] boost::asio::awaitable<Status> clear_password(std::string instance);

  struct State {
    std::uint64_t revision = 0;
    std::size_t networks = 0, subnets = 0, routers = 0, ports = 0, instances = 0;
    Store::Health store;
    bool known = false;
    bool from_copy = false;       ///< the store was not reached since the start; its copy is served
    std::chrono::seconds age{0};  ///< for how long the store has not confirmed what is served
    InventorySource source = InventorySource::database;
    std::string file;          ///< empty: none is followed
    std::string source_error;  ///< why what file or program says now is not served; empty: it is
    std::int64_t source_applied_at = 0;  ///< seconds since the epoch; 0: never
    std::string unknown_because;         ///< what known() waits for; empty: it is true
  };
  [[nodiscard]] State state() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap
