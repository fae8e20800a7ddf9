// SPDX-License-Identifier: Apache-2.0
#include "dataplane/sightings.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <iterator>

namespace metatap::dataplane {
namespace {

constexpr std::size_t kOwners = 1024;
constexpr std::size_t kOfOne = 4;

bool is_about_its_source(std::uint32_t reason) {
  return reason == MT_wrong_mac || reason == MT_spoofed_v4 || reason == MT_spoofed_v6;
}

Address source_of(const mt_event& event) {
  constexpr std::uint16_t kIpv6 = 0x86dd;
  constexpr std::size_t kV4 = 4;
  Address source{event.protocol == kIpv6 ? AF_INET6 : AF_INET, {}};
  std::copy_n(event.source, source.v4() ? kV4 : source.bytes.size(), source.bytes.begin());
  return source.bytes == decltype(source.bytes){} ? Address() : source;
}

}  // namespace

void Sightings::note(std::uint64_t owner, const mt_event& event, Clock::time_point now) {
  if (!is_about_its_source(event.reason)) {
    return;
  }
  Sighting seen{event.reason, source_of(event), {}, 0, now, now};
  std::ranges::copy(event.source_mac, seen.mac.begin());
  const auto [entry, fresh] = by_owner_.try_emplace(owner);
  if (fresh) {
    owners_.push_back(owner);
  }
  auto& all = entry->second;
  auto same = std::ranges::find_if(all, [&](const Sighting& one) {
    return one.reason == seen.reason && one.source == seen.source && one.mac == seen.mac;
  });
  if (same == all.end()) {
    if (all.size() == kOfOne) {
      all.erase(std::ranges::min_element(all, {}, &Sighting::last));
    }
    same = all.insert(all.end(), seen);
  }
  ++same->packets;
  same->last = now;
  if (owners_.size() > kOwners) {
    by_owner_.erase(owners_.front());
    owners_.pop_front();
  }
}

std::vector<Sighting> Sightings::of(std::uint64_t owner) const {
  const auto found = by_owner_.find(owner);
  if (found == by_owner_.end()) {
    return {};
  }
  auto all = found->second;
  std::ranges::sort(all, std::ranges::greater{}, &Sighting::last);
  return all;
}

}  // namespace metatap::dataplane
