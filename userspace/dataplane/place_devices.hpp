// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/router_place.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/steering.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// Makes the devices of a place what its plan says: first lets go of what has ended, then takes
/// what is new. A device that cannot be connected keeps its identity, and is tried again after a
/// pause that doubles, up to `longest`, whatever events say: what a try does to the device (a qdisc
/// that comes and goes) is an event too, and would bring the next one at once. One port is served
/// in one place, in the one that had it first.
///
/// Control thread, or a helper thread in the place's namespace while that waits.
class PlaceDevices {
 public:
  using LookAgain = std::function<void(const std::string& place)>;

  /// `steering` outlives this. `look_again`: a port that this place wanted may be taken now.
  PlaceDevices(Steering& steering, LookAgain look_again,
               std::chrono::milliseconds longest = std::chrono::seconds(2))
      : steering_(steering), look_again_(std::move(look_again)), longest_(longest) {}

  /// Inside. A device's own error is in its status, and what is wrong with the plan in the place's.
  Status settle(Place& place, PlacePlan plan, const Steering::Inside& inside);
  /// `inside`: is the calling thread in the place's namespace?
  void drop(Place& place, unsigned ifindex, bool inside);
  void drop_all(Place& place, bool inside);

 private:
  using DeviceAt = std::pair<std::string, unsigned>;  ///< name of its place, ifindex

  void add(Place& place, RouterDevice wanted);
  void update(Place& place, PlaceDevice& device, std::vector<RouterSource> wanted);
  [[nodiscard]] Status update_ports(Place& place, PlaceDevice& device,
                                    std::vector<RouterSource> wanted);
  [[nodiscard]] Status connect(Place& place, PlaceDevice& device);

  Steering& steering_;
  LookAgain look_again_;
  std::chrono::milliseconds longest_;
  std::map<std::string, DeviceAt> claims_;                ///< by port id
  std::map<std::string, std::set<std::string>> waiting_;  ///< port id → places that want it too
};

}  // namespace metatap::dataplane
