// SPDX-License-Identifier: Apache-2.0
#include "dataplane/packet_watch.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

constexpr auto kBySample = 1s;    ///< between two looks, while nobody looks on
constexpr auto kLookedOn = 50ms;  ///< while somebody does: the ring holds some 4000
constexpr auto kTold = 2s;        ///< between two looks at whose packets are refused
constexpr std::chrono::milliseconds kLongest = 60s;  ///< until it is to be asked for again
/// Of one look: what comes faster than that is lost, and other things have their turn.
constexpr std::size_t kMost = 4096;

/// The kernel's CLOCK_MONOTONIC as a time of day.
std::chrono::system_clock::time_point time_of(std::uint64_t monotonic_ns) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto ago = std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec) -
                   std::chrono::nanoseconds(monotonic_ns);
  return std::chrono::system_clock::now() -
         std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
}

/// As the packet had it when it left the program.
std::optional<Address> source_of(const mt_event& event) {
  constexpr std::uint16_t kIpv4 = 0x0800, kArp = 0x0806, kIpv6 = 0x86dd;
  if (event.protocol != kIpv4 && event.protocol != kArp && event.protocol != kIpv6) {
    return std::nullopt;
  }
  Address source{event.protocol == kIpv6 ? AF_INET6 : AF_INET, {}};
  std::copy_n(event.source, source.size(), source.bytes.begin());
  return source;
}

}  // namespace

PacketWatch::PacketWatch(std::shared_ptr<Core> core, boost::asio::io_context& control, Tell tell)
    : core_(std::move(core)), tick_(control), tell_(std::move(tell)), refusals_(core_) {}

PacketWatch::~PacketWatch() {
  tick_.cancel();
  if (until_) {
    trace(false);
  }
}

Status PacketWatch::start() {
  auto events = PacketEvents::open(*core_->programs);
  if (!events) {
    return tl::make_unexpected(std::move(events.error()));
  }
  events_.emplace(*std::move(events));
  refusals_.begin();
  wait();
  return {};
}

void PacketWatch::look_on(std::chrono::milliseconds time) {
  const auto until = Clock::now() + std::min(time, kLongest);
  const bool fresh = !until_;
  until_ = std::max(until, until_.value_or(until));
  if (fresh) {
    read();  // what came before is nobody's business
    lost_ = events_->lost();
    trace(true);
    wait();
  }
}

void PacketWatch::wait() {
  tick_.expires_after(until_ ? std::chrono::milliseconds(kLookedOn) : kBySample);
  tick_.async_wait([this](boost::system::error_code error) {
    if (error) {
      return;
    }
    read();
    if (const auto now = Clock::now(); now - told_ >= kTold) {
      told_ = now;
      refusals_.look(sightings_);
    }
    if (until_ && Clock::now() > *until_) {
      until_.reset();
      trace(false);
    }
    wait();
  });
}

void PacketWatch::read() {
  std::vector<PacketSeen> seen;
  events_->read([&](const mt_event& event) { note(event, seen); }, kMost);
  if (!until_) {
    return;
  }
  const auto lost = events_->lost() - std::exchange(lost_, events_->lost());
  if (!seen.empty() || lost != 0) {
    tell_(std::move(seen), lost);
  }
}

void PacketWatch::note(const mt_event& event, std::vector<PacketSeen>& seen) {
  const auto entry = event.slot == 0 ? nullptr : core_->slots->find(event.slot);
  if (entry) {
    sightings_.note(entry->origin->owner, event, Sightings::Clock::now());
  }
  if (!until_) {
    return;
  }
  PacketSeen one{.when = time_of(event.time_ns),
                 .port_id = {},
                 .device = {},
                 .reason = event.reason,
                 .length = event.length,
                 .source = {}};
  if (entry) {
    one.port_id = entry->origin->port_id;
    one.device = entry->origin->device;
  }
  if (auto source = source_of(event)) {
    if (const auto alias = Alias::of(*source); alias && alias->slot == event.slot) {
      source = behind(*alias, *source);
    }
    one.source = source->text();
  }
  seen.push_back(std::move(one));
}

/// The interface id of a link-local address is in the alias alone.
Address PacketWatch::behind(const Alias& alias, const Address& source) const {
  constexpr std::size_t kPrefix = 8;
  auto address = core_->slots->address_of(alias, source.family).value_or(source);
  if (address.link_local()) {
    std::copy(source.bytes.begin() + kPrefix, source.bytes.end(), address.bytes.begin() + kPrefix);
  }
  return address;
}

void PacketWatch::trace(bool on) {
  auto config = core_->programs->config();
  if (!config) {
    return;
  }
  const auto before = config->flags;
  config->flags = on ? before | MT_CONFIG_TRACE : before & ~std::uint32_t{MT_CONFIG_TRACE};
  if (config->flags == before) {
    return;
  }
  if (const auto written = core_->programs->set_config(*config); !written) {
    log::warn("packets are not told of: {}", written.error().message);
  }
}

}  // namespace metatap::dataplane
