// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "dataplane/core.hpp"
#include "dataplane/sightings.hpp"

namespace metatap::dataplane {

/// Which refusals a person has not been told of. Each owner's packets by reason are told of when
/// there are first some, and then, for as long as more come, once in ten minutes. Values; one
/// thread.
class Refusals {
 public:
  using Clock = std::chrono::steady_clock;

  /// A slot's packets that had this end.
  struct Count {
    std::uint32_t slot = 0, reason = 0;  ///< reason: enum mt_reason
    std::uint64_t owner = 0;             ///< Origin::owner
    std::uint64_t packets = 0;
  };

  /// What there is already: nobody is told of that.
  void begin(const std::vector<Count>& counts);
  /// All counts as they are now. Returns those to tell of, each with its packets since it was told
  /// of last. Owners that are not among them are forgotten.
  [[nodiscard]] std::vector<Count> news(const std::vector<Count>& counts, Clock::time_point now);

 private:
  struct Told {
    std::uint64_t packets = 0;
    std::optional<Clock::time_point> when;  ///< never
  };
  std::map<std::pair<std::uint64_t, std::uint32_t>, Told> told_;
};

/// Writes into the log whose packets are refused, or went elsewhere because nobody listened, and
/// why: a few lines at a time, whatever guests send. Control thread.
class RefusalLog {
 public:
  explicit RefusalLog(std::shared_ptr<const Core> core) : core_(std::move(core)) {}

  /// What was refused until now is not told of any more.
  void begin();
  /// To be called every few seconds. Costs little while nobody is refused. `sightings`: what is
  /// known of who it was.
  void look(const Sightings& sightings);

 private:
  [[nodiscard]] std::vector<Refusals::Count> counts() const;
  [[nodiscard]] std::uint64_t packets() const;
  void tell(const Refusals::Count& refused, const Sightings& sightings) const;

  std::shared_ptr<const Core> core_;
  Refusals refusals_;
  std::uint64_t packets_ = 0;  ///< of all refusals, as of the last look
};

}  // namespace metatap::dataplane
