// SPDX-License-Identifier: Apache-2.0
#include "proxy/recent_answers.hpp"

#include "base/boot_time.hpp"

namespace metatap::proxy {

void RecentAnswers::begin(std::uint32_t tenancy) {
  const std::lock_guard lock(mutex_);
  answers_ = {};
  count_ = 0;
  since_ = boot_time();
  tenancy_ = tenancy;
}

void RecentAnswers::add(const ledger::Answer& answer, std::uint32_t tenancy) {
  const std::lock_guard lock(mutex_);
  if (tenancy == 0 || tenancy != tenancy_) {
    return;
  }
  if (answers_.size() < kMost) {
    answers_.push_back(answer);
  } else {
    answers_[count_ % kMost] = answer;
  }
  ++count_;
}

RecentAnswers::List RecentAnswers::list() const {
  const std::lock_guard lock(mutex_);
  List list{.answers = {}, .older = count_ - answers_.size(), .since = since_};
  list.answers.reserve(answers_.size());
  for (auto number = list.older; number < count_; ++number) {
    list.answers.push_back(answers_[number % kMost]);
  }
  return list;
}

}  // namespace metatap::proxy
