// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/binding.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/place.hpp"
#include "dataplane/router_plan.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// A device in a place whose guests are served.
struct PlaceDevice {
  RouterDevice plan;
  // Members go in the opposite order: first the device's own key, which leads to all the others.
  std::optional<Hooks> hooks;
  std::map<std::string, Binding<mt_source_key>> ports;  ///< by port id
  Binding<mt_device_key> binding;
  std::string error;  ///< as of the last turn
  /// It could not be connected; not to be tried again before `until`.
  struct Refused {
    std::chrono::milliseconds pause;
    std::chrono::steady_clock::time_point until;
    Error error;
  };
  std::optional<Refused> refused;
};

/// A router's or DHCP namespace. It stays where it is in memory.
struct Place {
  PlaceName what;
  std::string name;
  std::uint32_t number = 0;  ///< mt_listener::place; another one for a namespace made anew
  std::uint64_t cookie = 0;  ///< 0: not looked into yet
  std::int32_t nsid = -1;
  PlaceState state = PlaceState::appearing;
  std::string error;        ///< denied, failed
  bool without_v6 = false;  ///< there is no IPv6 in it, which was said

  SlotNumbers retired;  ///< nobody's, but sockets in there may bear them
  std::optional<BindingSite<mt_device_key>> device_site;
  std::optional<BindingSite<mt_source_key>> source_site;
  std::map<unsigned, PlaceDevice> devices;  ///< by ifindex
  std::vector<RouterProblem> problems;
  std::map<std::string, unsigned> listeners;  ///< by name; the ifindex it is bound to, or 0
  std::vector<GuestListener> opened;          ///< of these, what the frontend has not got yet
  /// `number` as the process before had it, whose listeners these are; 0: it handed over nothing.
  std::uint32_t former = 0;
};

/// Why it is as it is, as a sentence; empty where the state says it all.
[[nodiscard]] std::string explain(const Place& place);
[[nodiscard]] std::string explain(const RouterProblem& problem, Path path);

}  // namespace metatap::dataplane
