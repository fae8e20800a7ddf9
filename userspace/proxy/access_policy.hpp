// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"

namespace metatap::proxy {

/// How the guest of one port may ask: what of AccessPolicy the proxy goes by, all of it decided.
struct Access {
  TokenMode tokens = TokenMode::optional;
  std::chrono::seconds boot_window{600};
  bool sealed = true;  ///< the sealed paths are, where there are any
  bool once = false;   ///< there are paths that are answered once

  /// With what that says in place of what is said here.
  [[nodiscard]] Access with(const AccessPolicy& policy) const;
  bool operator==(const Access&) const = default;
};

/// As the configuration, the inventory and `metatap ports` have it.
[[nodiscard]] std::string_view name_of(TokenMode mode);

/// What applies to a port of that inventory, which need not be there.
[[nodiscard]] Access access_of(const Access& configured, const Inventory& inventory,
                               std::string_view port_id, std::string_view network_id);

/// Connections that the inventory lets the port have open; nullopt: it says nothing.
[[nodiscard]] std::optional<unsigned> connections_of(const Inventory& inventory,
                                                     std::string_view port_id,
                                                     std::string_view network_id);

/// Patterns of paths that the inventory has the port read once; null: it says nothing.
[[nodiscard]] const std::vector<std::string>* read_once_of(const Inventory& inventory,
                                                           std::string_view port_id,
                                                           std::string_view network_id);

/// Of a text, the same in every process, which std::hash need not be. Never 0.
[[nodiscard]] std::uint64_t number_of(std::string_view text);

/// Who has the port: its instance, as a number. 0: that is not known.
[[nodiscard]] std::uint64_t tenant_of(const Inventory& inventory, std::string_view port_id);

}  // namespace metatap::proxy
