// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "metatap/model.hpp"

namespace metatap {

/// The ports of an inventory by what a change of one object has to find without a look at all the
/// others: what only one of them may have, and whose they are.
class PortIndex {
 public:
  /// What a port is looked for by, and what `scope` and `value` are.
  enum class By : std::uint8_t {
    owner,    ///< "", device_id
    mac,      ///< network_id, mac_address
    address,  ///< network_id, an address of fixed_ips
    device,   ///< vlan as text or "", device
  };

  PortIndex() = default;
  explicit PortIndex(const Inventory& inventory);

  /// From `change.before`, whose index it is, to `change.after`.
  void follow(const InventoryChange& change);

  template <class Use>
  void each(By by, std::string_view scope, std::string_view value, Use&& use) const {
    const auto [first, last] = ports_.equal_range(hash(by, scope, value));
    for (auto it = first; it != last; ++it) {
      if (has(*it->second, by, scope, value)) {
        use(*it->second);
      }
    }
  }

  /// Calls `use(by, scope, value)` for all that the port can be found by: nothing that is empty.
  template <class Use>
  static void keys(const Port& port, Use&& use) {
    if (!port.device_id.empty()) {
      use(By::owner, std::string_view(), std::string_view(port.device_id));
    }
    if (!port.mac_address.empty()) {
      use(By::mac, std::string_view(port.network_id), std::string_view(port.mac_address));
    }
    for (const auto& fixed : port.fixed_ips) {
      use(By::address, std::string_view(port.network_id), std::string_view(fixed.ip_address));
    }
    if (port.device) {
      use(By::device, std::string_view(vlan_text(port)), std::string_view(*port.device));
    }
  }

 private:
  [[nodiscard]] static std::string vlan_text(const Port& port) {
    return port.vlan ? std::to_string(*port.vlan) : "";
  }
  static std::size_t hash(By by, std::string_view scope, std::string_view value);
  static bool has(const Port& port, By by, std::string_view scope, std::string_view value);
  void add(const std::shared_ptr<const Port>& port);
  void remove(const Port& port);

  /// By hash: the texts are in the ports already.
  std::unordered_multimap<std::size_t, std::shared_ptr<const Port>> ports_;
};

}  // namespace metatap
