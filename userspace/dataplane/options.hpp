// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"
#include "sys/expedited_rcu.hpp"

namespace metatap::dataplane {

enum class AttachMode : std::uint8_t { automatic, tcx, clsact };

/// Group [dataplane].
struct DataPlaneOptions {
  std::string host;                                        ///< this one, as ports are bound to it
  std::string namespace_name = "metatap";                  ///< namespace
  std::filesystem::path pin_path = "/sys/fs/bpf/metatap";  ///< pin_path
  /// devices: shell patterns. Set: every device that matches is ours, and requests of one that no
  /// port claims wait for that, and are refused. Not set: the devices that ports name, nothing else
  /// is touched.
  std::optional<std::vector<std::string>> devices;
  AttachMode attach = AttachMode::automatic;  ///< attach
  WhenDown when_down = WhenDown::pass;        ///< when_down, of ports that do not say
  /// New connections a second a port may open, and how many at once; 0: no limit.
  std::uint64_t syn_rate = 5000, syn_burst = 5000;
  std::uint32_t drop_sample = 16;  ///< one drop in so many goes to mt_events; 0: none
  std::uint32_t slots = 16384;     ///< ports and router devices at most (65536); fixed while pinned
  /// quarantine: how long a slot number rests before it is used again. Its sockets are gone by
  /// then. For what is not (a packet under way, a kernel that cannot destroy sockets) the 16
  /// generations of a number outlast TCP's longest retry: 16 x 64 s > 924 s (tcp_retries2 = 15).
  std::chrono::seconds quarantine{64};

  /// [proxy] forwarded_inside: of connections that were forwarded inside the guest, where neither
  /// port nor instance nor network says.
  ForwardedInside forwarded_inside = ForwardedInside::count;
  /// first_hops: TTLs and hop limits that operating systems start with; any other was forwarded.
  std::vector<std::uint8_t> first_hops{64, 128, 255};

  bool routers = true;  ///< routers: look after Neutron's router and DHCP namespaces
  /// Under [DEFAULT] run_path: what was changed in which namespace, until it is undone.
  std::filesystem::path journal;

  /// expedite_rcu: while many devices are attached or let go, ask the kernel for short grace
  /// periods; a thousand routers then take seconds. Recorded under [DEFAULT] run_path.
  sys::RcuSwitch rcu;

  static Result<DataPlaneOptions> from(const Config& config);
  /// Is a device of this name ours to steer?
  [[nodiscard]] bool may_steer(const std::string& device) const;
};

}  // namespace metatap::dataplane
