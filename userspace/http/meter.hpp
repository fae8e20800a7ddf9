// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "http/count.hpp"
#include "metatap/exchange.hpp"
#include "metatap/path_class.hpp"

namespace metatap::http {

/// What a stage was asked, what it answered, and how long that took. A request costs some dozen
/// instructions and no lock: each worker has counters of its own.
class Meter {
 public:
  using Clock = std::chrono::steady_clock;

  /// The statuses that are told apart; all others count as 0.
  static constexpr std::array<std::uint16_t, 17> kStatuses{
      0, 200, 400, 403, 404, 405, 408, 409, 413, 414, 429, 431, 500, 501, 502, 503, 504};
  /// Upper bounds of the buckets in microseconds; one more is for what took longer.
  static constexpr std::array<std::uint32_t, 14> kBounds{
      10,    25,     50,     100,     250,       500,       1'000,
      2'500, 10'000, 50'000, 250'000, 1'000'000, 5'000'000, 30'000'000};

  /// Of what ran in `workers` threads.
  explicit Meter(unsigned workers);

  /// On a worker's thread: one more answer, after that time; or one that took none to speak of.
  void answered(PathClass path, unsigned status, Clock::duration time);
  void answered(PathClass path, unsigned status);

  struct Sums {
    std::array<std::array<std::uint64_t, kStatuses.size()>, kPathClasses> answers{};
    std::array<std::uint64_t, kBounds.size() + 1> buckets{};  ///< each by itself
    double seconds = 0;                                       ///< all of them together
    Sums& operator+=(const Sums& other);
  };
  /// Any thread.
  [[nodiscard]] Sums sums() const;

 private:
  struct alignas(64) Cell {
    void count(PathClass path, unsigned status);
    [[nodiscard]] Sums read() const;
    std::array<std::array<Count, kStatuses.size()>, kPathClasses> answers;
    std::array<Count, kBounds.size() + 1> buckets;
    Count nanoseconds;
  };
  [[nodiscard]] Cell& here();
  std::vector<Cell> cells_;
};

/// A stage as those in front of it see it, who ask it in this one's place. The stage outlives it.
class Metered final : public Handler {
 public:
  Metered(Handler& stage, unsigned workers) : stage_(stage), meter_(workers) {}
  [[nodiscard]] Meter::Sums sums() const { return meter_.sums(); }

 private:
  class Asked;
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  Handler& stage_;
  Meter meter_;
};

}  // namespace metatap::http
