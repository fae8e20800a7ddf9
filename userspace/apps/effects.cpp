// SPDX-License-Identifier: Apache-2.0
#include "apps/effects.hpp"

#include "channel/messages.hpp"

namespace metatap::apps {

void Effects::follow(dataplane::WorkQueue& queue) {
  if (open_++ == 0) {
    problems_.clear();  // of news that nobody asked about
  }
  queue.when_done([this](const std::vector<std::string>& problems) {
    problems_.insert(problems_.end(), problems.begin(), problems.end());
    if (--open_ == 0 && !asked_.empty()) {
      answer(std::exchange(asked_, {}));
    }
  });
}

void Effects::ask(Worker worker, Question question) {
  if (open_ != 0) {
    asked_.emplace_back(worker, question);
  } else {
    answer({{worker, question}});
  }
}

void Effects::answer(const std::vector<std::pair<Worker, Question>>& asked) {
  const auto all = problems_;
  for (const auto& [worker, question] : asked) {
    const bool only_when = question == channel::Settle::kOnlyWhen;
    answer_(worker, question, only_when ? std::vector<std::string>() : all);
    if (!only_when) {
      problems_.clear();
    }
  }
}

}  // namespace metatap::apps
