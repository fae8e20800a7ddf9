// SPDX-License-Identifier: Apache-2.0
#include "inventory/port_index.hpp"

#include <algorithm>
#include <boost/container_hash/hash.hpp>
#include <functional>

namespace metatap {

PortIndex::PortIndex(const Inventory& inventory) {
  constexpr std::size_t kKeys = 4;  // of an ordinary port
  ports_.reserve(kKeys * inventory.ports.size());
  for (const auto& [id, port] : inventory.ports) {
    add(port);
  }
}

void PortIndex::follow(const InventoryChange& change) {
  for (const auto& id : change.ports) {
    if (const auto old = change.before->ports.find(id); old != change.before->ports.end()) {
      remove(*old->second);
    }
    if (const auto now = change.after->ports.find(id); now != change.after->ports.end()) {
      add(now->second);
    }
  }
}

std::size_t PortIndex::hash(By by, std::string_view scope, std::string_view value) {
  std::size_t seed = static_cast<std::size_t>(by);
  boost::hash_combine(seed, std::hash<std::string_view>()(scope));
  boost::hash_combine(seed, std::hash<std::string_view>()(value));
  return seed;
}

bool PortIndex::has(const Port& port, By by, std::string_view scope, std::string_view value) {
  bool found = false;
  keys(port, [&](By its, std::string_view its_scope, std::string_view its_value) {
    found = found || (its == by && its_scope == scope && its_value == value);
  });
  return found;
}

void PortIndex::add(const std::shared_ptr<const Port>& port) {
  keys(*port, [&](By by, std::string_view scope, std::string_view value) {
    ports_.emplace(hash(by, scope, value), port);
  });
}

void PortIndex::remove(const Port& port) {
  keys(port, [&](By by, std::string_view scope, std::string_view value) {
    const auto [first, last] = ports_.equal_range(hash(by, scope, value));
    const auto found =
        std::find_if(first, last, [&](const auto& entry) { return entry.second->id == port.id; });
    if (found != last) {
      ports_.erase(found);
    }
  });
}

}  // namespace metatap
