// SPDX-License-Identifier: Apache-2.0
#include "proxy/access_policy.hpp"

namespace metatap::proxy {
namespace {

/// Null: there is no such object.
template <class T>
const T* find(const Inventory::Table<T>& table, std::string_view id) {
  const auto found = table.find(std::string(id));
  return found == table.end() ? nullptr : found->second.get();
}

/// Those that apply to a port; the later ones decide.
void each_policy(const Inventory& inventory, std::string_view port_id, std::string_view network_id,
                 const auto& use) {
  if (const auto* network = find(inventory.networks, network_id)) {
    use(network->access);
  }
  if (const auto* port = find(inventory.ports, port_id)) {
    if (const auto* instance = find(inventory.instances, port->device_id)) {
      use(instance->access);
    }
    use(port->access);
  }
}

}  // namespace

Access Access::with(const AccessPolicy& policy) const {
  return {policy.tokens.value_or(tokens), policy.boot_window.value_or(boot_window),
          policy.sealed.value_or(sealed), policy.read_once ? !policy.read_once->empty() : once};
}

std::string_view name_of(TokenMode mode) {
  switch (mode) {
    case TokenMode::off:
      return "off";
    case TokenMode::optional:
      return "optional";
    case TokenMode::required:
      return "required";
    case TokenMode::ratchet:
      break;
  }
  return "ratchet";
}

Access access_of(const Access& configured, const Inventory& inventory, std::string_view port_id,
                 std::string_view network_id) {
  Access access = configured;
  each_policy(inventory, port_id, network_id,
              [&](const AccessPolicy& policy) { access = access.with(policy); });
  return access;
}

std::optional<unsigned> connections_of(const Inventory& inventory, std::string_view port_id,
                                       std::string_view network_id) {
  std::optional<unsigned> connections;
  each_policy(inventory, port_id, network_id, [&](const AccessPolicy& policy) {
    if (policy.connections) {
      connections = policy.connections;
    }
  });
  return connections;
}

const std::vector<std::string>* read_once_of(const Inventory& inventory, std::string_view port_id,
                                             std::string_view network_id) {
  const std::vector<std::string>* patterns = nullptr;
  each_policy(inventory, port_id, network_id, [&](const AccessPolicy& policy) {
    patterns = policy.read_once ? &*policy.read_once : patterns;
  });
  return patterns;
}

/// FNV-1a.
std::uint64_t number_of(std::string_view text) {
  std::uint64_t number = 0xcbf29ce484222325U;
  for (const char c : text) {
    number = (number ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  }
  return number == 0 ? 1 : number;
}

std::uint64_t tenant_of(const Inventory& inventory, std::string_view port_id) {
  const auto* port = find(inventory.ports, port_id);
  return port == nullptr ? 0 : number_of(port->device_id);
}

}  // namespace metatap::proxy
