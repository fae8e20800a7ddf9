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

#include "dataplane/binding.hpp"
#include "dataplane/core.hpp"
#include "dataplane/guest_macs.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/namespace_keeper.hpp"
#include "dataplane/place.hpp"
#include "dataplane/port_sight.hpp"
#include "dataplane/rehearsal.hpp"
#include "dataplane/slot_status.hpp"
#include "dataplane/tap_plan.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// One device as `metatap status` shows it. A trunk has one for each VLAN of a port.
struct DeviceStatus {
  std::string name;
  unsigned ifindex = 0;  ///< 0: no such device now
  unsigned vlan = 0;
  std::string port_id, network_id;
  std::uint32_t slot = 0;
  std::string attach;  ///< "tcx", "clsact", or empty
  /// Programs and filters of others ahead of ours, which may take packets first.
  std::vector<std::string> before;
  DeviceState state = DeviceState::absent;
  std::string reason;  ///< a sentence, where the state alone does not say it
};

/// The same, as of any port: without traffic and addresses.
[[nodiscard]] PortSight sight_of(const DeviceStatus& status);

/// A device where it may not be our program that gets the packets.
struct ChainStatus {
  std::string device;
  std::vector<std::string> before;
  std::string problem;  ///< a sentence
};

/// Steers the guests behind taps of this namespace: follows devices and inventory, and has the
/// metadata namespace kept, whose listening sockets the proxy gets. Events and changes only put
/// devices into the work queue, where each has its turn; but identity goes with a device at once.
/// Control thread only.
class TapDataPlane {
 public:
  using Leave = dataplane::Leave;

  /// All arguments outlive this; `control` is what the reconciler's queue runs on.
  TapDataPlane(std::shared_ptr<Core> core, Reconciler& reconciler, boost::asio::io_context& control,
               GuestFrontend& frontend);
  ~TapDataPlane();
  TapDataPlane(const TapDataPlane&) = delete;
  TapDataPlane& operator=(const TapDataPlane&) = delete;

  /// Makes the namespace, opens the listeners, attaches what the inventory names, and returns when
  /// that is done (some milliseconds a device).
  Status start(std::shared_ptr<const Inventory> inventory);
  /// Notes what a change concerns; it is done when the queue is (WorkQueue::when_done).
  void apply(const InventoryChange& change);
  /// New connections go where they go while nobody listens; those that are open stay. To be called
  /// before the proxy finishes its last requests; stop() comes after that.
  void turn_away();
  /// True: something was left behind.
  bool stop(Leave leave = Leave::nothing);

  /// That port, where its guest is plugged in. nullopt: it is no port with a tap.
  [[nodiscard]] std::optional<PortSight> sight(const std::string& port_id) const;
  /// What would become of the packets that its guest sends first. Some 50 ms.
  [[nodiscard]] Result<std::vector<Rehearsed>> rehearse(
      const PortSight& port, const std::vector<Sighting>& strangers) const;

  /// Without the ports that are bound to other hosts, unless a device here has their name.
  [[nodiscard]] std::vector<DeviceStatus> devices() const;
  /// How many guests' ports are bound to this host, or on their way to it, and how many to others.
  struct Bindings {
    std::string host;  ///< this one, as ports are bound to it
    std::size_t here = 0, elsewhere = 0;
  };
  [[nodiscard]] Bindings bindings() const;
  /// Of ports.
  [[nodiscard]] std::vector<SlotStatus> slots() const;
  /// How many devices have a slot and no port.
  [[nodiscard]] std::size_t without_port() const;
  [[nodiscard]] std::vector<ReasonStatus> reasons() const;
  [[nodiscard]] const NamespaceHealth& namespace_health() const { return keeper_.health(); }
  [[nodiscard]] const SelfProbe& probe() const { return keeper_.probe(); }
  /// @see Programs::missing_pins
  [[nodiscard]] std::vector<std::string> missing_pins() const {
    return core_->programs->missing_pins();
  }
  /// Looks at the metadata namespace, and, unless that was done within a second, at all devices and
  /// at who else is on them.
  void look_now();
  /// Whom we overtook, by device, where nobody is ahead of us now; our own included.
  [[nodiscard]] std::vector<std::pair<std::string, Overtaking>> overtakings() const;
  /// Ports whose device is not here, but another one was given their MAC: its name.
  [[nodiscard]] std::map<std::string, std::string> renamed() const;
  /// Our own device included.
  [[nodiscard]] std::vector<ChainStatus> disturbed_chains() const;
  /// Where things are, for the log and `metatap status`.
  [[nodiscard]] std::string where() const;

 private:
  /// A point whose guest is steered.
  struct Tap {
    Tap(const TapPlan& plan, const TapDevice& device)
        : port_id(plan.port_id),
          network_id(plan.network_id),
          enabled(plan.enabled),
          ifindex(device.ifindex),
          given_mac(device.given_mac),
          left_out(plan.addresses.left_out) {}
    std::string port_id, network_id;  ///< empty: no port has it yet
    bool enabled;
    unsigned ifindex;
    std::optional<MacAddress> given_mac;  ///< of the device, when it came
    unsigned left_out;                    ///< addresses that may not ask
    Binding<mt_port_key> binding;
    [[nodiscard]] bool unknown() const { return port_id.empty(); }
  };
  using Taps = std::map<TapPoint, Tap>;

  // Devices.
  void wait_for_links();
  void wait_for_tick();
  void on_links();
  [[nodiscard]] Status look_at_first();
  [[nodiscard]] Status look_at_all_links();
  void look_again();
  void device_here(const sys::Link& link);
  void device_gone(unsigned ifindex, bool renamed = false);
  [[nodiscard]] TapDevice device_of(const std::string& name) const;
  // A device's turn.
  Turn settle(const std::string& device);
  Status settle_points(const std::string& device, const TapDevice& now);
  Status settle_point(const TapPoint& point, TapPlan plan, const TapDevice& device);
  Status bind(const TapPoint& point, TapPlan plan, const TapDevice& device);
  Status name(Taps::iterator tap, TapPlan plan, const TapDevice& device);
  [[nodiscard]] bool goes_on(const Tap& tap, const TapPlan& plan, const TapDevice& device) const;
  [[nodiscard]] bool may_wait_for_a_port(const std::string& device, const TapDevice& now) const;
  void share_numbers();
  Status hook(const std::string& device, unsigned ifindex);
  [[nodiscard]] Hooks* hooks_on(unsigned ifindex);
  Turn look_at_chain(const std::string& device);
  /// Goes on with the rows of an earlier process. Returns the devices whose rows were nobody's.
  std::set<unsigned> adopt_pinned();
  [[nodiscard]] std::set<unsigned> refusing_devices() const;
  Turn sweep_sockets();
  /// False: connections that bear their numbers are left.
  bool rest_retired();
  [[nodiscard]] DeviceStatus status_of(const TapPoint& point, const std::string& port_id) const;
  void add_unclaimed(std::vector<DeviceStatus>& all) const;

  std::shared_ptr<Core> core_;
  Reconciler& reconciler_;
  NamespaceKeeper keeper_;
  std::optional<sys::Netlink> netlink_;
  std::optional<sys::LinkMonitor> monitor_;
  boost::asio::posix::stream_descriptor readable_;
  boost::asio::steady_timer tick_;
  bool running_ = false;
  std::chrono::steady_clock::time_point looked_;  ///< at all links

  std::optional<TapIndex> index_;
  std::map<std::string, unsigned> ifindex_of_;  ///< links by name, as of the last event
  std::map<unsigned, std::string> name_of_;     ///< and the other way round
  GuestMacs guest_macs_;
  SlotNumbers retired_;  ///< nobody's, but sockets may bear them
  std::optional<BindingSite<mt_port_key>> site_;
  Taps taps_;
  std::map<unsigned, Hooks> hooks_;            ///< by ifindex
  std::map<std::string, std::string> errors_;  ///< by device, as of its last turn
  std::set<TapPoint> foreign_;                 ///< told in the log
  std::set<std::string> without_number_;       ///< devices without a port that got none
  WorkQueue::Lane devices_;                    ///< names
  WorkQueue::Lane chains_;                     ///< names of devices whose filters changed
  WorkQueue::Lane sockets_;                    ///< of retired numbers
};

}  // namespace metatap::dataplane
