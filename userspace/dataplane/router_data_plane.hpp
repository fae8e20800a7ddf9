// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/core.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/old_path.hpp"
#include "dataplane/place_devices.hpp"
#include "dataplane/place_monitor.hpp"
#include "dataplane/place_settings.hpp"
#include "dataplane/port_sight.hpp"
#include "dataplane/rehearsal.hpp"
#include "dataplane/router_place.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/slot_status.hpp"
#include "dataplane/steering.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {

/// A device in a namespace, as `metatap status` shows it.
struct RouterDeviceStatus {
  std::string name;
  unsigned ifindex = 0;
  std::string port_id, network_id;
  std::uint32_t slot = 0;
  std::string attach;               ///< "tcx", "clsact", "listen", or empty
  std::vector<std::string> before;  ///< others' programs ahead of ours
  DeviceState state = DeviceState::failed;
  std::string reason;
  std::size_t ports = 0;  ///< guests' ports behind it
};

[[nodiscard]] RouterDeviceStatus status_of(const PlaceDevice& device, std::string_view attach);

/// A router's or DHCP namespace.
struct PlaceStatus {
  std::string name, kind, id;  ///< kind: "router" or "dhcp"
  PlaceState state = PlaceState::failed;
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
/// Control thread only. A namespace has its turn in the work queue; it is entered on a helper
/// thread while the control thread waits, one at a time.
class RouterDataPlane {
 public:
  using Leave = dataplane::Leave;

  /// All outlive this; `control` is what the reconciler's queue runs on.
  RouterDataPlane(std::shared_ptr<Core> core, Reconciler& reconciler,
                  boost::asio::io_context& control, GuestFrontend& frontend);
  ~RouterDataPlane();
  RouterDataPlane(const RouterDataPlane&) = delete;
  RouterDataPlane& operator=(const RouterDataPlane&) = delete;

  /// Begins to watch; the namespaces that are there are taken one after another from then on.
  Status start(std::shared_ptr<const Inventory> inventory);
  /// Notes what a change concerns; it is done when the queue is (WorkQueue::when_done).
  void apply(const InventoryChange& change);
  /// New connections go where they went before us; those that are open, or on their way, stay.
  /// To be called before the proxy finishes its last requests; stop() comes after that.
  void turn_away();
  void stop(Leave leave = Leave::nothing);

  struct Progress {
    std::size_t namespaces = 0;  ///< Neutron's, by name
    std::size_t served = 0, pending = 0;
  };
  [[nodiscard]] Progress progress() const;
  [[nodiscard]] std::vector<PlaceStatus> places() const;
  /// Somebody asks how it is: who is on the devices is looked at now, not only when their
  /// namespaces have their turn. Of as many as that takes a tenth of a second for; who asks again
  /// has the others.
  void look_now();
  /// As TapDataPlane has them; the devices are named with their namespaces.
  [[nodiscard]] std::vector<ChainStatus> disturbed_chains() const;
  [[nodiscard]] std::vector<std::pair<std::string, Overtaking>> overtakings() const;
  [[nodiscard]] std::vector<SlotStatus> slots() const;
  /// All ports that are served here, without traffic and addresses.
  [[nodiscard]] std::vector<PortSight> ports() const;
  /// One of them; of several places only after a mistake.
  [[nodiscard]] std::vector<PortSight> sights(const std::string& port_id) const;
  /// What would become of the packets that its guest sends first. Some 50 ms.
  [[nodiscard]] Result<std::vector<Rehearsed>> rehearse(
      const PortSight& port, const std::vector<Sighting>& strangers) const;
  /// A sentence while a namespace that should be served is not, as of its last turn.
  [[nodiscard]] std::string problem() const;

  /// For `metatap doctor`: what of Neutron's own path is still there, in the first `limit`
  /// namespaces of ours, some 10 ms each, and no further than it comes in two seconds.
  [[nodiscard]] std::vector<OldPath> old_paths(std::size_t limit) const;

 private:
  // What is to be looked at.
  void wait_for_names();
  void wait_for_devices();
  void wait_for_tick();
  void on_names();
  void on_devices();
  void look_at_names();
  void add_all();
  void tell(const WorkQueue::Progress& progress);
  void look_at_chains(Place& place);
  // A namespace's turn.
  Turn settle(const std::string& name);
  Turn settle_unserved(Place& place, PlaceState state);
  void undo_leftovers(const std::string& name);
  Turn settle_missing(Place& place);
  Status settle_inside(Place& place);
  void number(Place& place, const sys::NetNamespace& opened);
  Status recognize(Place& place);
  /// All namespaces have had a turn: what nobody wanted of what an earlier process left goes.
  void settle_once();
  void report(Place& place, PlaceState state, std::string error = {});
  /// `gone`: the namespace is no more, or another one has its name.
  void release(const std::string& name, bool gone);
  /// Their namespace is not ours to look into any more.
  void let_rest(Place& place);

  std::shared_ptr<Core> core_;
  Reconciler& reconciler_;
  GuestFrontend& frontend_;
  std::optional<PortIndex> index_;
  std::optional<sys::Netlink> netlink_;  ///< of our own namespace, for numbers of others
  std::optional<NameMonitor> names_;
  std::optional<DeviceMonitor> devices_;
  boost::asio::posix::stream_descriptor names_readable_, devices_readable_;
  boost::asio::steady_timer tick_;
  std::optional<PlaceJournal> journal_;
  std::unique_ptr<Steering> steering_;
  std::optional<PlaceDevices> place_devices_;  ///< what each place has of them
  bool running_ = false;
  bool inside_ = false;  ///< the control thread waits for one that is in the place's namespace

  std::set<std::string> known_;          ///< Neutron's namespaces, by name
  std::map<std::string, Place> places_;  ///< those that we have looked at
  std::map<std::int32_t, std::string> by_nsid_;
  std::uint32_t next_number_ = 1;
  std::string swept_;  ///< how far the slow look at everything has come
  std::string asked_;  ///< and those of look_now()
  std::chrono::steady_clock::time_point looked_;
  bool settled_once_ = false;
  std::chrono::steady_clock::time_point batch_began_, batch_told_;
  WorkQueue::Lane lane_;  ///< names of namespaces
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace metatap::dataplane
