// SPDX-License-Identifier: Apache-2.0
#include "dataplane/steering.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.hpp"
#include "metatap/abi/abi.h"
#include "sys/sock_diag.hpp"
#include "sys/sysctl.hpp"

namespace metatap::dataplane {

std::string Steering::listener_name(const Place& place, const Address& shown, unsigned ifindex) {
  const auto address = shown.text();
  if (shown.family == AF_INET) {
    return fmt::format("{}/{}:{}", place.name, address, MT_METADATA_PORT);
  }
  return ifindex == 0
             ? fmt::format("{}/[{}]:{}", place.name, address, MT_METADATA_PORT)
             : fmt::format("{}/[{}%{}]:{}", place.name, address, ifindex, MT_METADATA_PORT);
}

Status Steering::open_listener(Place& place, const Address& shown, const GuestSocket& socket) {
  auto name = listener_name(place, shown, socket.ifindex);
  if (place.listeners.contains(name)) {
    if (!frontend_.listening()) {
      return {};
    }
    auto diag = sys::SockDiag::open();
    const auto there = diag ? diag->listens(socket.address, MT_METADATA_PORT, socket.ifindex)
                            : Result<bool>(tl::make_unexpected(std::move(diag.error())));
    if (!there) {
      return tl::make_unexpected(there.error());
    }
    if (*there) {
      return {};
    }
    log::warn("{}: somebody closed its listener {}: it is opened again", place.name, name);
    frontend_.close(name);
    std::erase_if(place.opened, [&](const auto& one) { return one.name == name; });
    place.listeners.erase(name);
  }
  Result<UniqueFd> fd = inherit(place, socket);
  if (!*fd) {
    fd = open_guest_socket(socket);
  }
  if (!fd) {
    if (fd.error().code == ErrorCode::conflict) {
      return fail(ErrorCode::conflict, fd.error().message + " (Neutron's own proxy?)");
    }
    return tl::make_unexpected(std::move(fd.error()));
  }
  place.listeners.emplace(name, socket.ifindex);
  place.opened.push_back(
      {*std::move(fd), std::move(name), {callers_by(), place.what}, next_worker_++, true});
  return {};
}

UniqueFd Steering::inherit(Place& place, const GuestSocket& socket) {
  auto fd = core_.inherited->take(place.cookie, socket.address, socket.ifindex);
  if (fd) {
    if (const auto taken = take_over_guest_socket(fd.get(), socket); !taken) {
      log::warn("{}: {}; it is opened anew", place.name, taken.error().message);
      ::shutdown(fd.get(), SHUT_RDWR);
      return {};
    }
    recognize_listener(place, fd.get());
  }
  return fd;
}

Status Steering::give_listeners(Place& place) {
  for (const auto& listener : place.opened) {
    if (auto named = name_listener(place, listener.fd.get()); !named) {
      return named;
    }
  }
  for (auto& listener : std::exchange(place.opened, {})) {
    frontend_.open(std::move(listener));
  }
  if (place.former != 0) {
    forget_former(place);
    place.former = 0;
  }
  return {};
}

void Steering::close_listeners(Place& place) {
  for (const auto& listener : std::exchange(place.opened, {})) {
    ::shutdown(listener.fd.get(), SHUT_RDWR);
  }
  for (const auto& [name, ifindex] : std::exchange(place.listeners, {})) {
    frontend_.close(name);
  }
}

void Steering::say_without_v6(Place& place, const Error& why) {
  if (!std::exchange(place.without_v6, true)) {
    log::warn("{}: no IPv6, its guests reach 169.254.169.254 only: {}", place.name, why.message);
  }
}

Status Steering::make_own(Place& place, const Inside& inside, const Address& address) {
  if (const auto way = inside.netlink.route_to(address); way && way->local) {
    return {};
  }
  if (journal_.has(place.cookie, PlaceChange::Kind::local_route, address.text())) {
    log::warn("{}: the local route of {} was gone: it is added again", place.name, address.text());
  }
  return journal_.add_local_route(place.cookie, inside.netlink, inside.lo, address);
}

Status Steering::keep_setting(Place& place, const std::string& path, const std::string& value) {
  if (const auto now = sys::get_sysctl(path);
      now && *now != value && journal_.has(place.cookie, PlaceChange::Kind::sysctl, path)) {
    log::warn("{}: somebody set {} to {}: it is {} again", place.name, path, *now, value);
  }
  return journal_.set_sysctl(place.cookie, path, value);
}

Status Steering::add_metadata_addresses(Place& place, const Inside& inside, const PlacePlan& plan) {
  const auto addresses = inside.netlink.addresses();
  if (!addresses) {
    return tl::make_unexpected(addresses.error());
  }
  const auto has = [&](const Address& address, unsigned ifindex) {
    return std::ranges::any_of(*addresses, [&](const auto& entry) {
      return entry.address == address && entry.ifindex == ifindex;
    });
  };
  if (auto own = make_own(place, inside, metadata_v4()); !own) {
    return own;
  }
  for (const auto& device : plan.devices) {
    if (!device.v6 || place.without_v6 || has(metadata_v6(), device.ifindex)) {
      continue;
    }
    const auto link = std::ranges::find(inside.links, device.ifindex, &sys::Link::index);
    if (auto added = journal_.add_address(place.cookie, inside.netlink, *link, metadata_v6());
        !added) {
      say_without_v6(place, added.error());
    }
  }
  return {};
}

}  // namespace metatap::dataplane
