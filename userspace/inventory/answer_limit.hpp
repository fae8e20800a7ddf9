// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <thread>

#include "metatap/unique_fd.hpp"

namespace metatap {

/// How long a server may keep silent. libpq waits for an answer as long as the connection stands,
/// and to the kernel it does while the server is merely stopped; so a connection that is silent for
/// too long is shut down from here, and libpq's call fails. A thread of its own; thread-safe.
class AnswerLimit {
 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    UniqueFd socket;  ///< a duplicate: the number of libpq's own may be somebody else's by then
    Clock::time_point until;
    bool expired = false;
  };

 public:
  explicit AnswerLimit(std::chrono::milliseconds limit);
  AnswerLimit(const AnswerLimit&) = delete;
  AnswerLimit& operator=(const AnswerLimit&) = delete;

  /// The time from its beginning, or the last heard(), to the next heard() or pause(), or its end,
  /// is limited.
  class Call {
   public:
    Call(AnswerLimit& owner, int socket);
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call();
    /// The server has answered and is asked the next thing.
    void heard();
    /// It has answered, and is not asked anything until heard().
    void pause();
    [[nodiscard]] bool expired() const;

   private:
    AnswerLimit& owner_;
    std::list<Waiting>::iterator waiting_;
  };

  [[nodiscard]] std::chrono::milliseconds limit() const { return limit_; }

 private:
  void watch(const std::stop_token& stop);

  const std::chrono::milliseconds limit_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::list<Waiting> calls_;
  std::uint64_t begun_ = 0;  ///< calls, ever
  std::jthread thread_;
};

}  // namespace metatap
