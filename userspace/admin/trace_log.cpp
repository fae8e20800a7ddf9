// SPDX-License-Identifier: Apache-2.0
#include "admin/trace_log.hpp"

#include <algorithm>
#include <utility>

namespace metatap::admin {

void TraceLog::look_on(Clock::time_point until) {
  const std::lock_guard lock(mutex_);
  until_ = std::max(until_, until);
  wanted_.store(true, std::memory_order_relaxed);
}

void TraceLog::look_away(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (now > until_) {
    wanted_.store(false, std::memory_order_relaxed);
    lines_.clear();
  }
}

void TraceLog::add(Json line) {
  const std::lock_guard lock(mutex_);
  lines_.emplace_back(next_++, std::move(line));
  if (lines_.size() > kMost) {
    lines_.pop_front();
  }
}

void TraceLog::add_lost(std::uint64_t lines) {
  const std::lock_guard lock(mutex_);
  next_ += lines;
}

TraceLog::Chunk TraceLog::since(std::uint64_t after) const {
  const std::lock_guard lock(mutex_);
  Chunk chunk{next_ - 1, 0, Json::array()};
  if (after >= next_) {
    return chunk;
  }
  const auto first =
      std::ranges::upper_bound(lines_, after, {}, [](const auto& line) { return line.first; });
  for (auto line = first; line != lines_.end(); ++line) {
    chunk.lines.push_back(line->second);
  }
  chunk.lost = next_ - 1 - after - chunk.lines.size();
  return chunk;
}

std::uint64_t TraceLog::last() const {
  const std::lock_guard lock(mutex_);
  return next_ - 1;
}

}  // namespace metatap::admin
