// SPDX-License-Identifier: Apache-2.0
#include "apps/effects.hpp"

namespace metatap::apps {

void Effects::follow(dataplane::WorkQueue& queue) {
  if (open_++ == 0) {
    problems_.clear();  // of news that nobody asked about
  }
  queue.when_done([this](const std::vector<std::string>& problems) {
    problems_.insert(problems_.end(), problems.begin(), problems.end());
    if (--open_ == 0 && !asked_.empty()) {
      const auto all = std::exchange(problems_, {});
      for (const auto& [worker, question] : std::exchange(asked_, {})) {
        answer_(worker, question, all);
      }
    }
  });
}

void Effects::ask(Worker worker, Question question) {
  if (open_ != 0) {
    asked_.emplace_back(worker, question);
  } else {
    answer_(worker, question, std::exchange(problems_, {}));
  }
}

}  // namespace metatap::apps
