// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_allocator.hpp"

#include <algorithm>
#include <string>

namespace metatap::dataplane {

SlotAllocator::SlotAllocator(std::uint32_t size, Clock::duration quarantine, std::uint32_t first)
    : taken_(size, false),
      reserved_(size, false),
      first_(first),
      never_(first),
      fresh_(usable()),
      quarantine_(quarantine) {
  if (size > 0) {
    taken_[0] = true;
  }
}

void SlotAllocator::take(std::uint32_t slot) {
  if (!taken_[slot]) {
    taken_[slot] = true;
    fresh_ -= slot >= first_ ? 1 : 0;
  }
}

Result<std::uint32_t> SlotAllocator::acquire(Clock::time_point now) {
  // Fresh numbers first: the longer a used one rests, the better.
  while (never_ < taken_.size() && taken_[never_]) {
    ++never_;
  }
  std::uint32_t slot = 0;
  if (never_ < taken_.size()) {
    slot = never_++;
  } else if (!resting_.empty() && resting_.front().until <= now) {
    slot = resting_.front().slot;
    resting_.pop_front();
  } else {
    return fail(ErrorCode::unavailable, "all " + std::to_string(usable()) + " slots are in use (" +
                                            std::to_string(resting_.size()) + " of them resting)");
  }
  take(slot);
  ++in_use_;
  return slot;
}

std::size_t SlotAllocator::available(Clock::time_point now) const {
  const auto rested =
      std::ranges::partition_point(resting_, [&](const Rest& rest) { return rest.until <= now; });
  return fresh_ + static_cast<std::size_t>(rested - resting_.begin());
}

void SlotAllocator::reserve(std::uint32_t slot) {
  if (slot != 0 && slot < taken_.size() && !taken_[slot]) {
    take(slot);
    reserved_[slot] = true;
  }
}

Status SlotAllocator::adopt(std::uint32_t slot) {
  if (slot == 0 || slot >= taken_.size() || (taken_[slot] && !reserved_[slot])) {
    return fail(ErrorCode::conflict, "slot " + std::to_string(slot) + " is not free");
  }
  take(slot);
  reserved_[slot] = false;
  ++in_use_;
  return {};
}

void SlotAllocator::release(std::uint32_t slot, Clock::time_point now) {
  if (slot == 0 || slot >= taken_.size() || !taken_[slot]) {
    return;
  }
  if (reserved_[slot]) {
    reserved_[slot] = false;
  } else {
    --in_use_;
  }
  resting_.push_back({slot, now + quarantine_});
}

}  // namespace metatap::dataplane
