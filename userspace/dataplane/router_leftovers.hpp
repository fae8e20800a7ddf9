// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/maps.hpp"
#include "dataplane/slot_sockets.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// Which devices of routers and which ports behind them the process before led to which slots. Each
/// place takes in its first turn what goes on as it was, and lets go of the rest. Control thread,
/// or one that it waits for.
class RouterLeftovers {
 public:
  /// None.
  RouterLeftovers() = default;
  /// Reads the maps of a process whose listeners were handed over.
  static Result<RouterLeftovers> read(const Maps& maps);

  /// No place has a number that one of that process has.
  [[nodiscard]] std::uint32_t first_free_place() const { return first_free_place_; }

  /// The slot that goes on, if the row of that device was the same: by what the place was called
  /// then.
  [[nodiscard]] std::optional<std::uint32_t> take_device(const SlotTable& slots,
                                                         const mt_device_key& key, mt_slot row);
  /// The same for a port behind the device that `row` names, if it was found by just these keys.
  [[nodiscard]] std::optional<std::uint32_t> take_port(const SlotTable& slots, mt_slot row,
                                                       std::vector<mt_source_key> keys);

  /// Nothing leads any more to what of that place was not taken. The numbers stay taken.
  [[nodiscard]] SlotNumbers let_go(const Maps& maps, SlotTable& slots, std::uint32_t place);
  /// Nor to what of any place was not.
  [[nodiscard]] SlotNumbers let_all_go(const Maps& maps, SlotTable& slots);

 private:
  struct Device {
    mt_device_key key{};
    std::uint32_t slot = 0;
  };
  using Ports = std::map<std::uint32_t, std::vector<mt_source_key>>;  ///< keys, by slot
  void erase_ports(const Maps& maps, std::uint32_t device_slot, SlotNumbers& gone);

  std::vector<Device> devices_;
  std::map<std::uint32_t, Ports> ports_;  ///< by their device's slot
  std::uint32_t first_free_place_ = 1;
};

}  // namespace metatap::dataplane
