// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "http/deadlines.hpp"
#include "metatap/counters.hpp"
#include "metatap/exchange.hpp"

namespace metatap::agent {

/// `[agent] shield` and its fellows.
struct ShieldOptions {
  bool enabled = false;
  /// How long an answer is given again without asking: Nova's own metadata_cache_expiration.
  std::chrono::milliseconds ttl{15'000};
  /// For how long the last good answer stands in for an API that gives none.
  std::chrono::milliseconds stale{86'400'000};
  /// How long the API may take while there is such an answer.
  std::chrono::milliseconds patience{3'000};
  unsigned most_questions = 32;  ///< in flight to the API at a time
  /// With the question that a boot begins with, the rest of what it asks for (boot_paths.hpp) is
  /// asked as well, for an instance of which nothing is kept. The proxy puts that question when a
  /// port comes. Others are no reason: guests that run ask after each restart of ours.
  bool ahead = true;
  std::size_t most_bytes = 64U << 20U;
};

/// Stands between the agent and an API in another process, for storms and outages.
///
/// * One question at a time for an instance, address and path: whoever asks the same meanwhile
///   waits for the one answer. At most `most_questions` are in flight together; others wait for
///   their turn.
/// * A 200 is given again for `ttl`, the random seed made anew each time. So a change at the API is
///   seen at most that much later than without a shield.
/// * While the API is down, slow or answers 5xx or 429, its last 200 stands in for up to `stale`,
/// with Age
///   and Cache-Status (RFC 9111, RFC 9211), whose negative ttl says how long it has been out of
///   date. After three failures in a row the API is asked only now and then, so that a boot does
///   not wait for it at each step.
/// * What is fetched ahead has half of `most_questions`, and only while nobody waits in line.
/// * Another 4xx passes and ends what was kept. POST, HEAD, queries and passwords pass by; what
/// holds an
///   administrator's password is not kept for an outage (kept_answer.hpp).
///
/// In memory only. Thread-safe. `api` outlives it.
class Shield final : public Handler {
 public:
  using Clock = std::function<std::int64_t()>;  ///< in milliseconds
  Shield(Handler& api, const ShieldOptions& options, Clock clock = http::Deadlines::now);
  ~Shield() override;

  [[nodiscard]] ShieldCounts<> counters() const;

  struct State;

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  std::shared_ptr<State> state_;
};

}  // namespace metatap::agent
