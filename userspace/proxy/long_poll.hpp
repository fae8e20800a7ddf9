// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "http/overload.hpp"
#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/change_board.hpp"
#include "proxy/change_query.hpp"
#include "proxy/counters.hpp"
#include "proxy/load_table.hpp"

namespace metatap::proxy {

/// What a request that waits for a change goes by.
struct LongPollRules {
  /// `[proxy]`; so many of a port, and of all; beyond either: 503. 0: nobody waits.
  unsigned most_of_port = 16, most = 10'000;
  /// `[proxy] change_poll`: how often the stages behind are asked where nobody tells of changes.
  std::chrono::milliseconds look_every{15'000};
  /// `[proxy] longest_wait`: then it gets what there is, as with timeout_sec.
  std::chrono::milliseconds longest{3'600'000};
};

/// One request that is answered when its answer has become another one (`ChangeQuery`), when its
/// time is over, its guest has closed or the process ends: then with what there is. An answer that
/// is not 200 is one at once; but an outage that comes while it waits is waited out.
///
/// While it waits it holds its connection and is no request in flight. A guest that has gone is
/// found at the next look. Used on one worker's thread.
class LongPoll final : Continuation, ChangeBoard::Waiter {
 public:
  /// All of these, and what is asked for it, outlive it. `fd`: the guest's connection.
  struct Guest {
    const Origin& origin;
    int fd;
    WorkerCounters& counters;
  };
  /// `place`: among those of its port; `everybody`: among all. `board`: its worker's.
  LongPoll(const LongPollRules& rules, ChangeQuery query, Guest guest, LoadShare place,
           LoadShare everybody, ChangeBoard& board);
  ~LongPoll();

  /// The target to ask for.
  [[nodiscard]] const std::string& target() const { return query_.target; }
  /// As Handler::ask() of the stages behind.
  [[nodiscard]] std::optional<Response> ask(Handler& next, const Request& request,
                                            Continuation& then);

 private:
  void answered(Response&& response) noexcept override;
  void look() noexcept override;
  void give_up() noexcept override;

  [[nodiscard]] std::optional<Response> ask_now();
  /// What goes to the guest, or nullopt: it waits.
  [[nodiscard]] std::optional<Response> judge(Response&& response);
  [[nodiscard]] bool is_over() const;
  void rest();
  void wake();
  void end() noexcept;
  void finish(Response&& response) noexcept;

  const LongPollRules& rules_;
  ChangeQuery query_;
  const Guest guest_;
  LoadShare place_, everybody_;
  boost::asio::io_context& here_;
  http::OverloadShare& budget_;
  const std::int64_t until_;
  Handler* next_ = nullptr;
  const Request* request_ = nullptr;
  Continuation* then_ = nullptr;
  bool asking_ = false;  ///< the stages behind have not answered yet
  bool again_ = false;   ///< something has been said meanwhile
  bool resting_ = false;
  bool gone_ = false;  ///< who asked
  bool first_ = true;  ///< answer to come
};

}  // namespace metatap::proxy
