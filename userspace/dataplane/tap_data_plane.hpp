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
#include "dataplane/guest_macs.hpp"
#include "dataplane/metadata_namespace.hpp"
#include "dataplane/slot_sockets.hpp"
#include "dataplane/tc_attachment.hpp"
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
  /// steered, disabled, absent, conflict, refused (another guest's device by its MAC), unclaimed
  /// (ours by pattern, but no port's), error
  std::string state;
  std::string reason;  ///< a sentence, where the state alone does not say it
};

struct SlotStatus {
  std::uint32_t slot = 0;
  std::string port_id, device;
  mt_counter counter{};
  std::map<std::string, std::uint64_t> reasons;
};

/// Steers the guests behind taps of this namespace: keeps the metadata namespace, follows devices
/// and inventory, and hands listening sockets to the proxy. Control thread only; start() may block
/// for as long as attaching takes (some milliseconds a device).
class TapDataPlane {
 public:
  /// All arguments outlive this.
  TapDataPlane(std::shared_ptr<Core> core, boost::asio::io_context& control,
               GuestFrontend& frontend);
  ~TapDataPlane();
  TapDataPlane(const TapDataPlane&) = delete;
  TapDataPlane& operator=(const TapDataPlane&) = delete;

  /// Makes the namespace, opens the listeners, attaches what the inventory names.
  Status start(std::shared_ptr<const Inventory> inventory);
  /// Brings devices and slots in line with the inventory after a change.
  void apply(const InventoryChange& change);
  enum class Leave : bool {
    nothing,  ///< detach, take down the namespace, unpin
    steering  ///< leave programs and maps for the next process, which knows by them who is who;
              ///< packets are treated as `when_down` says until it listens. Open connections end:
              ///< the namespace stays only until that process makes its own
  };
  void stop(Leave leave = Leave::nothing);

  [[nodiscard]] std::vector<DeviceStatus> devices() const;
  [[nodiscard]] std::vector<SlotStatus> slots() const;
  [[nodiscard]] std::vector<ReasonStatus> reasons() const;
  /// Where things are, for the log and `metatap status`.
  [[nodiscard]] std::string where() const;

 private:
  using Place = std::pair<std::string, std::uint16_t>;  ///< device name, VLAN

  struct Claim {
    std::shared_ptr<const Port> port;
    bool enabled = true;  ///< admin_state_up of port and network
  };
  struct Binding {
    std::string port_id, network_id;
    bool enabled = true;
    unsigned ifindex = 0;
    std::uint32_t slot = 0;
    mt_slot row{};
    std::string note;
  };

  // Inventory: who wants which place.
  void want(const std::string& port_id);
  [[nodiscard]] std::optional<Claim> winner(const Place& place) const;
  // Devices.
  void wait_for_links();
  void wait_for_tick();
  void on_links();
  void look_at_all_links();
  void device_here(const sys::Link& link);
  /// Why the device that is at `place` now is not this port's, as a sentence; empty: it may be.
  [[nodiscard]] std::string why_foreign(const Place& place, const Port& port) const;
  void device_gone(unsigned ifindex);
  // Both together.
  void settle(const Place& place);
  void settle_device(const std::string& name);
  void settle_all();
  void bind(const Place& place, const Claim& claim, unsigned ifindex);
  void unbind(const Place& place);
  void retire(std::uint32_t slot);
  void sweep_after(std::chrono::seconds delay);
  Status set_attached(unsigned ifindex, bool wanted);
  [[nodiscard]] std::pair<Binding, PortAddresses> describe(const Place& place, const Claim& claim,
                                                           unsigned ifindex) const;
  void forget_leftovers();
  Status open_listeners();

  std::shared_ptr<Core> core_;
  GuestFrontend& frontend_;
  std::optional<MetadataNamespace> namespace_;
  std::optional<TcAttachment> return_path_;
  std::optional<sys::Netlink> netlink_;
  std::optional<sys::LinkMonitor> monitor_;
  boost::asio::posix::stream_descriptor readable_;
  boost::asio::steady_timer tick_, sweep_;
  bool running_ = false;

  std::shared_ptr<const Inventory> inventory_;
  std::map<std::string, Place> wanted_places_;        ///< by port id
  std::map<Place, std::set<std::string>> wanting_;    ///< port ids
  std::map<std::string, unsigned> ifindex_of_;        ///< links by name, as of the last event
  std::map<unsigned, std::string> name_of_;           ///< and the other way round
  GuestMacs guest_macs_;                              ///< whose the devices are by their MACs
  std::map<Place, Binding> bindings_;                 ///< what is steered
  std::map<unsigned, TcAttachment> attached_;         ///< by ifindex
  std::map<std::string, std::string> attach_errors_;  ///< by device
  std::map<Place, std::string> bind_errors_;
  SlotNumbers retired_;                   ///< removed, but sockets may still bear them
  std::map<Place, std::string> refused_;  ///< why_foreign(), as it was told in the log
  std::vector<std::string> listeners_;
};

}  // namespace metatap::dataplane
