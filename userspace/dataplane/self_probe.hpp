// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "dataplane/core.hpp"

namespace metatap::dataplane {

/// The daemon's own look at the way that guests' packets take: each second, a SYN by each family
/// enters the metadata namespace by the pair, a listener answers, and mt_return sees the answer
/// come out again. It comes from an alias that is nobody's and is taken back at once; no guest and
/// no worker hears of it. Control thread.
class SelfProbe {
 public:
  /// A family that has no answer three times in a row; called when that begins and ends.
  using Changed = std::function<void()>;

  SelfProbe(std::shared_ptr<Core> core, boost::asio::io_context& control, Changed changed);

  /// Between the two, there is a way. `wanted`: somebody is to listen; while nobody is, nothing is
  /// looked at.
  void start(bool v6, std::function<bool()> wanted);
  void stop();

  struct Answer {
    bool good = true;
    std::chrono::system_clock::time_point since;     ///< it is so
    std::chrono::system_clock::time_point answered;  ///< the last time; the epoch: never
  };
  /// By family; none before the first look.
  [[nodiscard]] const std::map<int, Answer>& answers() const { return answers_; }
  /// A sentence while a family has no answer.
  [[nodiscard]] std::string problem() const;

 private:
  struct Try {
    std::uint16_t port = 0;   ///< of the one that waits for its answer; 0: none does
    unsigned unanswered = 0;  ///< in a row
  };
  void wait(std::chrono::milliseconds time);
  void look();
  void report();
  void send(int family);
  /// The last one: then it is taken back.
  bool is_answered(int family);
  void take_back(int family);

  std::shared_ptr<Core> core_;
  boost::asio::steady_timer tick_;
  Changed changed_;
  std::function<bool()> wanted_;
  std::uint16_t last_port_ = 0;
  std::map<int, Try> tries_;
  std::map<int, Answer> answers_;
};

}  // namespace metatap::dataplane
