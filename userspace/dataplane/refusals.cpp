// SPDX-License-Identifier: Apache-2.0
#include "dataplane/refusals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::chrono::minutes kAgain{10};
/// Lines of one look; of the others it is only said how many there are.
constexpr std::size_t kMost = 10;

/// The guest asked and we did not serve it.
bool is_refusal(std::uint32_t reason) {
  return reason == MT_no_listener ||
         (reason < reasons().size() && reasons()[reason].outcome == "drop");
}

}  // namespace

void Refusals::begin(const std::vector<Count>& counts) {
  for (const auto& one : counts) {
    told_[{one.owner, one.reason}].packets = one.packets;
  }
}

std::vector<Refusals::Count> Refusals::news(const std::vector<Count>& counts,
                                            Clock::time_point now) {
  std::vector<Count> news;
  decltype(told_) told;
  for (const auto& one : counts) {
    const auto before = told_.find({one.owner, one.reason});
    auto& entry = told[{one.owner, one.reason}];
    entry = before == told_.end() ? Told{} : before->second;
    if (one.packets > entry.packets && (!entry.when || now - *entry.when >= kAgain)) {
      news.push_back({one.slot, one.reason, one.owner, one.packets - entry.packets});
      entry = {one.packets, now};
    }
  }
  told_ = std::move(told);
  return news;
}

void RefusalLog::begin() {
  packets_ = packets();
  refusals_.begin(counts());
}

void RefusalLog::look(const Sightings& sightings) {
  const auto packets = this->packets();
  if (std::exchange(packets_, packets) == packets) {
    return;
  }
  const auto news = refusals_.news(counts(), Refusals::Clock::now());
  const auto told = std::min(news.size(), kMost);
  for (const auto& refused : std::span(news).first(told)) {
    tell(refused, sightings);
  }
  if (told < news.size()) {
    log::warn("packets of guests were refused in {} more ways: metatap doctor, metatap ports",
              news.size() - told);
  }
}

/// By the sums over all slots, which are few: whether it is worth while to look at each.
std::uint64_t RefusalLog::packets() const {
  std::uint64_t sum = 0;
  const auto all = count_reasons(*core_->programs);
  for (std::uint32_t reason = 0; reason < all.size(); ++reason) {
    sum += is_refusal(reason) ? all[reason].packets : 0;
  }
  return sum;
}

std::vector<Refusals::Count> RefusalLog::counts() const {
  std::vector<Refusals::Count> counts;
  const auto& map = core_->programs->maps().slot_reasons;
  const auto keys = map.keys();
  if (!keys) {
    log::warn("{}", keys.error().message);
    return counts;
  }
  for (const auto& key : *keys) {
    const auto entry = is_refusal(key.reason) ? core_->slots->find(key.slot) : nullptr;
    if (!entry) {
      continue;  // nobody's any more
    }
    if (const auto packets = map.get(key); packets && *packets) {
      counts.push_back({key.slot, key.reason, entry->origin->owner, **packets});
    }
  }
  return counts;
}

void RefusalLog::tell(const Refusals::Count& refused, const Sightings& sightings) const {
  const auto entry = core_->slots->find(refused.slot);
  if (!entry) {
    return;
  }
  const auto& origin = *entry->origin;
  const auto& reason = reasons()[refused.reason];
  std::string who;
  for (const auto& seen : sightings.of(refused.owner)) {
    if (seen.reason == refused.reason) {
      who = fmt::format("; its guest uses {}, MAC {}",
                        seen.source.family == 0 ? "an address" : seen.source.text(),
                        to_string(seen.mac));
      break;  // the last one
    }
  }
  log::warn("port {}, {}: {} packets {}: {} ({}){}",
            origin.port_id.empty() ? "of nobody" : origin.port_id, origin.device, refused.packets,
            reason.outcome == "drop" ? "refused" : "not taken", reason.text, reason.name, who);
}

}  // namespace metatap::dataplane
