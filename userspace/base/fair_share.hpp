// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace metatap {

/// How a room of `cap` places is shared by those who come. An eighth of it is for those who have
/// none; of the rest, who has `own` of the `taken` places gets another while more than that are
/// free.
///
/// * While there is room enough for all, nobody notices: alone, one may have half of the rest.
/// * The fuller it is, the less anybody may have: when n want all they can get at once, each ends
///   with a part in n + 1.
/// * Whoever came early and took half keeps it; but nobody who has some takes the eighth, so there
///   is a place for one who has none until as many others have come as the eighth has places.
///
/// (The dynamic threshold of shared-memory switches: Choudhury and Hahne, 1998.)
[[nodiscard]] constexpr bool fair_share(std::size_t own, std::size_t taken, std::size_t cap) {
  const std::size_t shared = cap - cap / 8;
  return own == 0 ? taken < cap : taken < shared && own < shared - taken;
}

/// Such a room, of which each has places by name. Thread-safe.
class FairRoom : public std::enable_shared_from_this<FairRoom> {
 public:
  /// `cap`: 0 where there is no limit.
  explicit FairRoom(std::size_t cap) : cap_(cap) {}

  /// One place, free again when this goes; false if none was to be had.
  class Place {
   public:
    Place() = default;
    Place(std::shared_ptr<FairRoom> room, std::string who)
        : room_(std::move(room)), who_(std::move(who)) {}
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) noexcept {
      std::swap(room_, other.room_);
      std::swap(who_, other.who_);
      return *this;
    }
    ~Place() {
      if (room_) {
        room_->leave(who_);
      }
    }
    explicit operator bool() const { return room_ != nullptr; }

   private:
    std::shared_ptr<FairRoom> room_;
    std::string who_;
  };

  [[nodiscard]] Place enter(std::string who) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = places_.find(who);
      const std::size_t own = found == places_.end() ? 0 : found->second;
      if (cap_ != 0 && !fair_share(own, taken_, cap_)) {
        return {};
      }
      places_[who] = own + 1;
      ++taken_;
    }
    return {shared_from_this(), std::move(who)};
  }

 private:
  void leave(const std::string& who) {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(who);
    if (--found->second == 0) {
      places_.erase(found);
    }
    --taken_;
  }

  const std::size_t cap_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::size_t> places_;
  std::size_t taken_ = 0;
};

}  // namespace metatap
