// SPDX-License-Identifier: Apache-2.0
#include "dataplane/callers.hpp"

#include "dataplane/router_resolver.hpp"
#include "dataplane/tap_resolver.hpp"

namespace metatap::dataplane {

std::shared_ptr<const CallerResolver> Callers::resolver(const CallerRule& rule) {
  switch (rule.by) {
    case CallerRule::By::alias:
      return std::make_shared<TapResolver>(view_, learned_);
    case CallerRule::By::mark:
      return std::make_shared<MarkResolver>(view_, rule.place);
    case CallerRule::By::address:
      break;
  }
  return addresses_of(rule.place);
}

void Callers::each(const std::function<void(const std::shared_ptr<const Origin>&)>& use) const {
  view_->each([&](const SlotEntry& entry) { use(entry.origin); });
}

Caller Callers::caller_of(const CallerRule& rule, const Connection& connection) {
  switch (rule.by) {
    case CallerRule::By::alias:
      return TapResolver(view_, learned_).caller_of(connection.peer, connection.mark);
    case CallerRule::By::mark:
      return MarkResolver(view_, rule.place).caller_of(connection.peer, connection.mark);
    case CallerRule::By::address:
      break;
  }
  return addresses_of(rule.place)->caller_at(connection.peer, connection.ifindex);
}

void Callers::publish(const PlaceName& place, AddressTable table) {
  std::erase_if(by_address_, [](const auto& one) { return one.second.expired(); });
  if (const auto found = by_address_.find({place.path, place.id}); found != by_address_.end()) {
    if (const auto resolver = found->second.lock()) {
      resolver->publish(std::make_shared<const AddressTable>(std::move(table)));
      return;
    }
  }
  early_.insert_or_assign({place.path, place.id},
                          std::make_shared<const AddressTable>(std::move(table)));
}

std::shared_ptr<AddressResolver> Callers::addresses_of(const PlaceName& place) {
  auto& known = by_address_[{place.path, place.id}];
  auto resolver = known.lock();
  if (!resolver) {
    resolver = std::make_shared<AddressResolver>(view_);
    known = resolver;
    if (auto table = early_.extract({place.path, place.id})) {
      resolver->publish(std::move(table.mapped()));
    }
  }
  return resolver;
}

}  // namespace metatap::dataplane
