// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/core.hpp"
#include "dataplane/guest_socket.hpp"
#include "dataplane/place_settings.hpp"
#include "dataplane/router_place.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// How the requests of a place's guests come to our listeners there, and how their callers are
/// known. Control thread, or a helper thread in the place's namespace while that waits.
class Steering {
 public:
  /// What one sees inside a place.
  struct Inside {
    sys::Netlink& netlink;
    const std::vector<sys::Link>& links;
    unsigned lo = 0;  ///< its ifindex
  };

  virtual ~Steering() = default;
  Steering(const Steering&) = delete;
  Steering& operator=(const Steering&) = delete;

  /// Before anything else: lets go of what an earlier process left, unless it has handed over its
  /// listeners: then each place goes on with its own. The first number that is free for a place.
  [[nodiscard]] virtual std::uint32_t look_at_leftovers() { return 1; }
  /// Inside: settings, routes and listeners, whatever must be there before a guest is served.
  [[nodiscard]] virtual Status prepare(Place& place, const Inside& inside,
                                       const PlacePlan& plan) = 0;
  /// Inside: may a device that is served go on as it is?
  [[nodiscard]] virtual bool goes_on(PlaceDevice& device, const RouterDevice& wanted) const = 0;
  /// Gives the device its identity; nothing comes in by it yet.
  [[nodiscard]] virtual Status identify(Place& place, PlaceDevice& device) = 0;
  [[nodiscard]] virtual Result<Binding<mt_source_key>> identify_port(
      Place& place, const PlaceDevice& device, const RouterSource& source) = 0;
  /// Inside: lets its requests come. Again and again until it succeeds.
  [[nodiscard]] virtual Status connect(Place& place, PlaceDevice& device) = 0;
  /// Before a device goes. `inside`: is the calling thread in its namespace?
  virtual void disconnect(Place& place, PlaceDevice& device, bool inside) = 0;
  /// After a turn: publishes who is who.
  virtual void publish(Place& /*place*/, const Inventory& /*inventory*/) {}
  /// Inside, after that: the frontend gets the listeners that are new, now that whoever waits there
  /// is known.
  [[nodiscard]] Status give_listeners(Place& place);
  /// Inside, after a turn: ends connections of slots that are nobody's. False: some are left.
  [[nodiscard]] virtual bool end_connections(Place& /*place*/) { return true; }
  /// New connections go where they went before us.
  virtual void turn_away(Place& /*place*/) {}
  /// Once all places have had their turn.
  virtual void sweep(const std::map<std::string, Place>& /*places*/) {}

  /// "tcx", "clsact", "listen", or empty while nothing is attached.
  [[nodiscard]] virtual std::string_view attach_of(const PlaceDevice& device) const = 0;
  /// Is a listener of that kind in a place ours? For the look at Neutron's own path.
  [[nodiscard]] virtual bool owns_metadata_port() const { return false; }

  void close_listeners(Place& place);

 protected:
  /// All outlive this.
  Steering(const Core& core, PlaceJournal& journal, GuestFrontend& frontend)
      : core_(core), journal_(journal), frontend_(frontend) {}

  [[nodiscard]] static std::string listener_name(const Place& place, const Address& shown,
                                                 unsigned ifindex);
  /// Opens it unless it is there, which the kernel is asked. `shown`: the address that guests use.
  [[nodiscard]] Status open_listener(Place& place, const Address& shown, const GuestSocket& socket);
  /// Inside: that the namespace takes packets to the address as its own, and a setting. Both are
  /// recorded; who comes by again puts right what somebody changed, and says so.
  [[nodiscard]] Status make_own(Place& place, const Inside& inside, const Address& address);
  [[nodiscard]] Status keep_setting(Place& place, const std::string& path,
                                    const std::string& value);
  /// An on-link guest asks by ARP or ND for the metadata address: somebody there must have it.
  [[nodiscard]] Status add_metadata_addresses(Place& place, const Inside& inside,
                                              const PlacePlan& plan);
  /// Says it once, and does not try again.
  static void say_without_v6(Place& place, const Error& why);
  [[nodiscard]] virtual CallerRule::By callers_by() const = 0;
  /// What a listener needs before it is given away.
  [[nodiscard]] virtual Status name_listener(const Place& /*place*/, int /*fd*/) { return {}; }
  /// It was an earlier process's; notes what that one knew of it.
  virtual void recognize_listener(Place& /*place*/, int /*fd*/) {}
  /// Inside: the place has its identities and its listeners; what else the process before had there
  /// goes.
  virtual void forget_former(Place& /*place*/) {}

  const Core& core_;
  PlaceJournal& journal_;
  GuestFrontend& frontend_;

 private:
  [[nodiscard]] UniqueFd inherit(Place& place, const GuestSocket& socket);
  unsigned next_worker_ = 0;
};

/// Of the connections that an earlier process left, nothing is in the way of others any more.
void forget_elsewhere(const Core& core);

/// By mt_router: packets are tagged at the device, the tag says who it is.
[[nodiscard]] std::unique_ptr<Steering> bpf_steering(std::shared_ptr<Core> core,
                                                     Reconciler& reconciler, PlaceJournal& journal,
                                                     GuestFrontend& frontend);
/// Without BPF (`--steering=listen`): listeners at the metadata address itself, peers by address.
[[nodiscard]] std::unique_ptr<Steering> listen_steering(const Core& core, PlaceJournal& journal,
                                                        GuestFrontend& frontend);

}  // namespace metatap::dataplane
