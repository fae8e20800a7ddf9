// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/work_queue.hpp"

namespace metatap::apps {

/// What the news of a worker lead to. It asks for that in a message of its own, and a turn may
/// come, and go wrong, between the two. Control thread.
class Effects {
 public:
  using Worker = std::uint64_t;
  using Question = std::uint64_t;
  /// All is in effect, but for these.
  using Answer = std::function<void(Worker, Question, std::vector<std::string> problems)>;

  explicit Effects(Answer answer) : answer_(std::move(answer)) {}

  /// News came, and are in effect when the queue is done.
  void follow(dataplane::WorkQueue& queue);
  /// Are all that came until now? Who asks with channel::Settle::kOnlyWhen takes no problem from
  /// others who ask.
  void ask(Worker worker, Question question);

 private:
  void answer(const std::vector<std::pair<Worker, Question>>& asked);

  Answer answer_;
  unsigned open_ = 0;                  ///< news that are not in effect yet
  std::vector<std::string> problems_;  ///< since the first of them
  std::vector<std::pair<Worker, Question>> asked_;
};

}  // namespace metatap::apps
