// SPDX-License-Identifier: Apache-2.0
#include "inventory/row.hpp"

#include <fmt/format.h>

#include <functional>
#include <memory>

#include "inventory/read_objects.hpp"
#include "inventory/write_document.hpp"

namespace metatap {
namespace {

constexpr std::string_view kNetworks = "networks", kSubnets = "subnets", kRouters = "routers",
                           kPorts = "ports", kInstances = "instances";

Row row_of(std::string_view kind, const std::string& id, const Instance& instance) {
  return {kind, id, write_without_network_info(instance), instance.network_info, std::nullopt};
}
Row row_of(std::string_view kind, const std::string& id, const Port& port) {
  return {kind, id, write_object(port), std::nullopt, port.attached};
}
template <class T>
Row row_of(std::string_view kind, const std::string& id, const T& object) {
  return {kind, id, write_object(object), std::nullopt, std::nullopt};
}

template <class T>
void add_changes(RowChanges& rows, std::string_view kind, const std::vector<std::string>& ids,
                 const Inventory::Table<T>& after) {
  for (const auto& id : ids) {
    if (const auto object = after.find(id); object != after.end()) {
      rows.put.push_back(row_of(kind, id, *object->second));
    } else {
      rows.erase.emplace_back(kind, id);
    }
  }
}

template <class T>
Result<std::shared_ptr<T>> read_row(std::string_view body, const json::Keys<T>& keys) {
  const auto document = json::parse(body);
  if (!document) {
    return fail(ErrorCode::internal, "stored object: " + document.error().message);
  }
  json::Reading reading;
  std::shared_ptr<T> object;
  reading.mistakes.note([&] { object = json::read(json::Node(*document, reading), keys); });
  if (reading.mistakes.count() != 0) {
    return fail(ErrorCode::internal, "stored object: " + reading.mistakes.error().message);
  }
  return object;
}

template <class T>
Status add_object(Inventory::Table<T>& table, std::string T::* id, std::string_view body,
                  const json::Keys<T>& keys, const std::function<void(T&)>& complete = nullptr) {
  auto object = read_row(body, keys);
  if (!object) {
    return tl::make_unexpected(std::move(object.error()));
  }
  if (complete) {
    complete(**object);
  }
  const std::string key = (**object).*id;
  table.insert_or_assign(key, *std::move(object));
  return {};
}

Status unknown_kind(std::string_view kind) {
  return fail(ErrorCode::internal, fmt::format("a stored object of unknown kind '{}'", kind));
}

}  // namespace

RowChanges rows_of(const InventoryChange& change) {
  RowChanges rows;
  add_changes(rows, kNetworks, change.networks, change.after->networks);
  add_changes(rows, kSubnets, change.subnets, change.after->subnets);
  add_changes(rows, kRouters, change.routers, change.after->routers);
  add_changes(rows, kPorts, change.ports, change.after->ports);
  add_changes(rows, kInstances, change.instances, change.after->instances);
  return rows;
}

Status erase_row(Inventory& inventory, std::string_view kind, std::string_view id) {
  if (kind == kInstances) {
    inventory.instances.erase(id);
  } else if (kind == kPorts) {
    inventory.ports.erase(id);
  } else if (kind == kNetworks) {
    inventory.networks.erase(id);
  } else if (kind == kSubnets) {
    inventory.subnets.erase(id);
  } else if (kind == kRouters) {
    inventory.routers.erase(id);
  } else {
    return unknown_kind(kind);
  }
  return {};
}

Status add_row(Inventory& inventory, std::string_view kind, std::string_view body,
               std::optional<std::string> network_info, std::optional<std::int64_t> place) {
  if (kind == kInstances) {
    return add_object<Instance>(
        inventory.instances, &Instance::uuid, body, instance_keys(),
        [&](Instance& instance) { instance.network_info = std::move(network_info); });
  }
  if (kind == kPorts) {
    return add_object<Port>(inventory.ports, &Port::id, body, port_keys(),
                            [&](Port& port) { port.attached = place.value_or(0); });
  }
  if (kind == kNetworks) {
    return add_object(inventory.networks, &Network::id, body, network_keys());
  }
  if (kind == kSubnets) {
    return add_object(inventory.subnets, &Subnet::id, body, subnet_keys());
  }
  if (kind == kRouters) {
    return add_object(inventory.routers, &Router::id, body, router_keys());
  }
  return unknown_kind(kind);
}

}  // namespace metatap
