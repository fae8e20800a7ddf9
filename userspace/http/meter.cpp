// SPDX-License-Identifier: Apache-2.0
#include "http/meter.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "http/recycled.hpp"
#include "http/workers.hpp"

namespace metatap::http {
namespace {

/// Where each status stands among those that are told apart.
constexpr auto kPlaces = [] {
  std::array<std::uint8_t, 600> places{};
  for (std::size_t i = 0; i < Meter::kStatuses.size(); ++i) {
    places.at(Meter::kStatuses.at(i)) = static_cast<std::uint8_t>(i);
  }
  return places;
}();

}  // namespace

Meter::Meter(unsigned workers) : cells_(std::max(workers, 1U)) {}

Meter::Cell& Meter::here() {
  const std::size_t worker = Workers::here();
  return cells_[worker < cells_.size() ? worker : 0];
}

void Meter::Cell::count(PathClass path, unsigned status) {
  const auto place = kPlaces[status < kPlaces.size() ? status : 0];
  ++answers[static_cast<std::size_t>(path)][place];
}

void Meter::answered(PathClass path, unsigned status) {
  here().count(path, status);
}

void Meter::answered(PathClass path, unsigned status, Clock::duration time) {
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
  const auto microseconds = nanoseconds / 1000;
  std::size_t bucket = 0;  // most are among the first
  while (bucket < kBounds.size() && microseconds >= kBounds[bucket]) {
    ++bucket;
  }
  Cell& cell = here();
  cell.count(path, status);
  ++cell.buckets[bucket];
  cell.nanoseconds += static_cast<std::uint64_t>(std::max<std::int64_t>(nanoseconds, 0));
}

Meter::Sums Meter::Cell::read() const {
  Sums sums;
  for (std::size_t path = 0; path < kPathClasses; ++path) {
    std::ranges::copy(answers[path], sums.answers[path].begin());
  }
  std::ranges::copy(buckets, sums.buckets.begin());
  sums.seconds = static_cast<double>(nanoseconds) / 1e9;
  return sums;
}

Meter::Sums& Meter::Sums::operator+=(const Sums& other) {
  for (std::size_t path = 0; path < kPathClasses; ++path) {
    std::ranges::transform(answers[path], other.answers[path], answers[path].begin(), std::plus());
  }
  std::ranges::transform(buckets, other.buckets, buckets.begin(), std::plus());
  seconds += other.seconds;
  return *this;
}

Meter::Sums Meter::sums() const {
  Sums sums;
  for (const Cell& cell : cells_) {
    sums += cell.read();
  }
  return sums;
}

/// One request on its way. Owns itself when there is no answer at once.
class Metered::Asked final : public Continuation, public Recycled {
 public:
  Asked(Meter& meter, std::string_view target, Continuation& then)
      : meter_(meter), path_(path_class_of(target)), then_(then) {}

  void end(unsigned status) { meter_.answered(path_, status, Meter::Clock::now() - began_); }

 private:
  void answered(Response&& response) noexcept override {
    const std::unique_ptr<Asked> self(this);
    end(response.status);
    then_.answered(std::move(response));
  }

  Meter& meter_;
  const PathClass path_;
  Continuation& then_;
  const Meter::Clock::time_point began_ = Meter::Clock::now();
};

std::optional<Response> Metered::handle(const Request& request, boost::asio::io_context& here,
                                        Continuation& then) {
  auto asked = std::make_unique<Asked>(meter_, request.target, then);
  // It may have ended, and be gone, before this returns without a response.
  auto response = stage_.ask(request, here, *asked);
  if (response) {
    asked->end(response->status);
  } else {
    static_cast<void>(asked.release());
  }
  return response;
}

}  // namespace metatap::http
