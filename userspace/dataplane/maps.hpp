// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "dataplane/bpf_map.hpp"
#include "metatap/abi/abi.h"

namespace metatap::dataplane {

/// How a map grows with [dataplane] slots. One that is not in the table has the size that
/// bpf/maps.h gives it.
struct MapSize {
  std::string_view map;
  std::uint32_t rows_per_slot = 1;
  std::uint32_t at_least = 0;
};
inline constexpr std::array kMapSizes{
    MapSize{"mt_slots"},
    MapSize{"mt_owners"},
    MapSize{"mt_taps"},
    MapSize{"mt_counters"},
    MapSize{"mt_buckets"},
    MapSize{"mt_ports"},
    MapSize{"mt_devices"},
    MapSize{"mt_sources", 4},
    MapSize{"mt_slot_reasons", 8},
    // Even with few slots a port may have all the addresses there are indices for.
    MapSize{"mt_addresses", 8, 4096},
    MapSize{"mt_aliases", 8, 4096},
    MapSize{"mt_prefixes", 4},
};

/// Rows of that map with so many slots; 0: it does not depend on them.
[[nodiscard]] constexpr std::uint32_t rows_of(std::string_view map, std::uint32_t slots) {
  for (const auto& size : kMapSizes) {
    if (size.map == map) {
      return std::max(size.rows_per_slot * slots, size.at_least);
    }
  }
  return 0;
}

/// The maps of bpf/maps.h with their types. Those per CPU are read by count_reasons().
struct Maps {
  /// Finds one by name; its rows have keys and values of that many bytes.
  using Open = std::function<std::shared_ptr<MapRows>(std::string_view name, std::size_t key_size,
                                                      std::size_t value_size)>;
  explicit Maps(const Open& open)
      : config(typed<std::uint32_t, mt_config>(open, "mt_config")),
        slots(typed<std::uint32_t, mt_slot>(open, "mt_slots")),
        owners(typed<std::uint32_t, mt_slot_owner>(open, "mt_owners")),
        taps(typed<std::uint32_t, std::uint32_t>(open, "mt_taps")),
        ports(typed<mt_port_key, std::uint32_t>(open, "mt_ports")),
        addresses(typed<mt_address_key, mt_address>(open, "mt_addresses")),
        aliases(typed<mt_alias_key, mt_alias>(open, "mt_aliases")),
        prefixes(typed<mt_prefix_key, std::uint32_t>(open, "mt_prefixes")),
        devices(typed<mt_device_key, std::uint32_t>(open, "mt_devices")),
        sources(typed<mt_source_key, std::uint32_t>(open, "mt_sources")),
        listeners(typed<int, mt_listener>(open, "mt_listeners")),
        elsewhere(typed<mt_flow, std::uint64_t>(open, "mt_elsewhere")),
        counters(typed<std::uint32_t, mt_counter>(open, "mt_counters")),
        buckets(typed<std::uint32_t, mt_bucket>(open, "mt_buckets")),
        slot_reasons(typed<mt_slot_reason, std::uint64_t>(open, "mt_slot_reasons")),
        reason_names(typed<std::uint32_t, mt_reason_name>(open, "mt_reason_names")) {}

  BpfMap<std::uint32_t, mt_config> config;
  BpfMap<std::uint32_t, mt_slot> slots;
  BpfMap<std::uint32_t, mt_slot_owner> owners;
  BpfMap<std::uint32_t, std::uint32_t> taps;  ///< of our own namespace
  BpfMap<mt_port_key, std::uint32_t> ports;
  BpfMap<mt_address_key, mt_address> addresses;
  BpfMap<mt_alias_key, mt_alias> aliases;
  BpfMap<mt_prefix_key, std::uint32_t> prefixes;
  BpfMap<mt_device_key, std::uint32_t> devices;
  BpfMap<mt_source_key, std::uint32_t> sources;
  BpfMap<int, mt_listener> listeners;  ///< by the descriptor of the listening socket
  BpfMap<mt_flow, std::uint64_t> elsewhere;
  BpfMap<std::uint32_t, mt_counter> counters;
  BpfMap<std::uint32_t, mt_bucket> buckets;
  BpfMap<mt_slot_reason, std::uint64_t> slot_reasons;
  BpfMap<std::uint32_t, mt_reason_name> reason_names;

 private:
  template <class Key, class Value>
  static BpfMap<Key, Value> typed(const Open& open, std::string_view name) {
    return BpfMap<Key, Value>(open(name, sizeof(Key), sizeof(Value)));
  }
};

}  // namespace metatap::dataplane
