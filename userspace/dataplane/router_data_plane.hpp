// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.hpp"
#include "dataplane/core.hpp"
#include "dataplane/old_path.hpp"
#include "dataplane/place_monitor.hpp"
#include "dataplane/place_settings.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/router_resolver.hpp"
#include "dataplane/slot_sockets.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "dataplane/tc_attachment.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {

struct RouterOptions {
  /// [dataplane] routers: look after Neutron's router and DHCP namespaces.
  bool enabled = true;
  /// [dataplane] expedite_rcu: attaching to many devices at once, ask the kernel for short grace
  /// periods while it lasts (/sys/kernel/rcu_expedited); a thousand routers then take seconds.
  bool expedite_rcu = true;
  /// Under [DEFAULT] run_path: what was changed in which namespace, until it is undone.
  std::filesystem::path journal;

  static Result<RouterOptions> from(const Config& config);
};

/// A device in a namespace, as `metatap status` shows it.
struct RouterDeviceStatus {
  std::string name;
  unsigned ifindex = 0;
  std::string port_id, network_id;
  std::uint32_t slot = 0;
  std::string attach;  ///< "tcx", "clsact", "listen", or empty
  std::string state;   ///< steered, disabled, unknown, foreign, conflict, error
  std::string reason;
  std::size_t ports = 0;  ///< guests' ports behind it
};

/// A router's or DHCP namespace.
struct PlaceStatus {
  std::string name, kind, id;  ///< kind: "router" or "dhcp"
  /// served, waiting (no device yet), unknown (not in the inventory), down, denied, error
  std::string state;
  std::string reason;
  std::vector<std::string> listeners;
  std::vector<RouterDeviceStatus> devices;
  std::vector<PlaceChange> changes;  ///< what we set there
};

/// Serves guests behind Neutron's routers and DHCP ports: follows the namespaces and the devices in
/// them, opens listeners inside, tags and steers with mt_router. One process and a few sockets
/// however many routers there are. Nothing of Neutron's is changed; what we set in a namespace is
/// recorded and undone. Without BPF the listeners alone serve (`--steering=listen`).
///
/// Control thread only. A namespace is entered on a helper thread while the control thread waits,
/// one namespace at a time, so that everything else of the control thread gets its turn in between.
class RouterDataPlane {
 public:
  /// `control` and `frontend` outlive this.
  RouterDataPlane(std::shared_ptr<Core> core, RouterOptions options,
                  boost::asio::io_context& control, GuestFrontend& frontend);
  ~RouterDataPlane();
  RouterDataPlane(const RouterDataPlane&) = delete;
  RouterDataPlane& operator=(const RouterDataPlane&) = delete;

  /// Begins to watch; the namespaces that are there are taken one after another from then on.
  Status start(std::shared_ptr<const Inventory> inventory);
  void apply(const InventoryChange& change);
  /// New connections go where they went before us; those that are open, or on their way, stay.
  /// To be called before the proxy finishes its last requests; stop() comes after that.
  void turn_away();
  using Leave = TapDataPlane::Leave;
  void stop(Leave leave = Leave::nothing);

  struct Progress {
    std::size_t namespaces = 0;  ///< Neutron's, by name
    std::size_t served = 0, pending = 0;
  };
  [[nodiscard]] Progress progress() const;
  [[nodiscard]] std::vector<PlaceStatus> places() const;
  [[nodiscard]] std::vector<SlotStatus> slots() const;

  /// For `metatap doctor`: what of Neutron's own path is still there, in the first `limit`
  /// namespaces of ours. Some 10 ms each.
  [[nodiscard]] std::vector<OldPath> old_paths(std::size_t limit) const;

 private:
  /// A device that is steered.
  struct Device {
    RouterDevice plan;
    std::uint32_t slot = 0;
    std::shared_ptr<Origin> origin;
    struct Port {
      std::uint32_t slot = 0;
      std::shared_ptr<Origin> origin;
      std::vector<mt_source_key> keys;
    };
    std::map<std::string, Port> ports;
    // In this order: of two clsact filters the first made the qdisc, and goes last.
    std::optional<TcAttachment> in, out;
    std::string error;
  };
  /// A namespace that is served, or on its way.
  struct Place {
    PlaceName what;
    std::string name;
    std::uint32_t number = 0;  ///< mt_listener::place
    std::uint64_t cookie = 0;
    std::int32_t nsid = -1;
    std::string state, reason;
    std::map<unsigned, Device> devices;  ///< by ifindex
    SlotNumbers retired;                 ///< removed, but sockets may still bear them
    std::vector<RouterProblem> problems;
    std::map<std::string, unsigned> listeners;  ///< by name; the ifindex it is bound to, or 0
    std::shared_ptr<CallerResolver> resolver;
  };

  [[nodiscard]] bool bpf() const { return core_->programs != nullptr; }
  // What is to be looked at.
  void wait_for_names();
  void wait_for_devices();
  void wait_for_tick();
  void on_names();
  void on_devices();
  void look_at_names();
  void look_again(const std::string& name, unsigned tries);
  void enqueue(const std::string& name);
  void enqueue_all();
  void work();
  void expedite(bool on);
  // One namespace.
  void settle(const std::string& name);
  Status settle_inside(Place& place, sys::Netlink& netlink, PlacePlan plan,
                       const std::vector<sys::Link>& links);
  Status prepare(Place& place, sys::Netlink& netlink, const PlacePlan& plan,
                 const std::vector<sys::Link>& links);
  Status open_listener(Place& place, const sys::IpAddress& shown, const sys::IpAddress& address,
                       unsigned ifindex);
  void close_listeners(Place& place);
  void publish_addresses(Place& place);
  void sweep_inside(Place& place);
  void let_rest(Place& place);
  /// `gone`: the namespace is no more, or another one has its name.
  void release(const std::string& name, bool gone);
  // One device.
  void add_device(Place& place, RouterDevice wanted);
  void update_ports(Place& place, Device& device, std::vector<RouterSource> wanted);
  Status add_port(Place& place, Device& device, const RouterSource& source);
  void drop_port(Place& place, Device& device, const std::string& port_id);
  void drop_device(Place& place, unsigned ifindex);
  Status attach(Place& place, Device& device);
  [[nodiscard]] std::string pin_of(const Place& place, unsigned ifindex,
                                   std::string_view side) const;
  void forget_leftovers();
  void forget_elsewhere();
  void drop_stale_pins();

  std::shared_ptr<Core> core_;
  RouterOptions options_;
  boost::asio::io_context& control_;
  GuestFrontend& frontend_;
  std::optional<PortIndex> index_;
  std::optional<sys::Netlink> netlink_;  ///< of our own namespace, for numbers of others
  std::optional<NameMonitor> names_;
  std::optional<DeviceMonitor> devices_;
  boost::asio::posix::stream_descriptor names_readable_, devices_readable_;
  boost::asio::steady_timer tick_;
  std::optional<PlaceJournal> journal_;
  bool running_ = false, working_ = false;
  bool inside_ = false;  ///< the control thread waits for one that is in the place's namespace
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  std::set<std::string> known_;          ///< Neutron's namespaces, by name
  std::map<std::string, Place> places_;  ///< those that we have looked at
  std::map<std::int32_t, std::string> by_nsid_;
  std::deque<std::string> queue_;
  std::set<std::string> queued_;
  std::map<std::string, std::pair<std::string, unsigned>> claims_;  ///< port id → place, ifindex
  std::map<std::string, std::set<std::string>> waiting_;  ///< port id → places that want it too
  std::uint32_t next_place_ = 1;
  unsigned next_worker_ = 0;
  std::string swept_;  ///< how far the slow look at everything has come
  std::optional<std::string> rcu_before_;
  bool pins_swept_ = false;
  std::chrono::steady_clock::time_point batch_began_, batch_told_;
  std::size_t batch_ = 0;
};

}  // namespace metatap::dataplane
