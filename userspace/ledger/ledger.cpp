// SPDX-License-Identifier: Apache-2.0
#include "ledger/ledger.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <vector>

#include "base/log.hpp"

namespace metatap::ledger {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kTurn = 50ms;       ///< how long what was told may lie in an inbox
constexpr auto kTryAgain = 500ms;  ///< where nothing could be written
constexpr auto kLastWords = 2s;    ///< at the end, for what is not written yet

}  // namespace

/// Belongs to the thread as well, which may be left to itself in a write that does not end.
struct Ledger::Shared {
  Shared(LedgerOptions its_options, unsigned tellers)
      : options(std::move(its_options)), book(options.directory, options.limits) {
    for (unsigned i = 0; i < tellers; ++i) {
      inboxes.push_back(std::make_unique<Inbox<Access>>(kRoom));
    }
  }

  const LedgerOptions options;
  std::vector<std::unique_ptr<Inbox<Access>>> inboxes;
  std::atomic<std::uint64_t> written{0}, lost{0}, waiting{0};

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false, ended = false;
  std::string problem;
  ChainEnd end;

  // The thread's alone.
  Book book;
  std::vector<std::string> entries;  ///< that are not written yet
  bool begun = false, failed = false;

  /// The oldest first, whoever told; and what was lost after them.
  void collect() {
    std::vector<Access> told;
    std::size_t missing = 0;
    for (const auto& inbox : inboxes) {
      inbox->take([&](Access&& access) { told.push_back(std::move(access)); });
      missing += inbox->take_lost();
    }
    std::ranges::stable_sort(told, {}, &Access::at);
    for (const auto& access : told) {
      entries.push_back(entry_of(access));
    }
    if (missing != 0) {
      lost += missing;
      entries.push_back(entry_of(kGap, {{"lost", missing}, {"reason", "overrun"}}));
    }
  }

  /// Also where there is nothing to write yet: whether it can be is known from the beginning.
  Status write() {
    if (entries.empty() && begun) {
      return {};
    }
    auto added = book.add(entries);
    begun = begun || added.status;
    written += added.entries;
    entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(added.entries));
    waiting = entries.size();
    note(added.status);
    return std::move(added.status);
  }

  void note(const Status& status) {
    const std::lock_guard lock(mutex);
    end = book.end();
    if (!status && status.error().code == ErrorCode::unavailable) {
      return;  // another worker has its turn
    }
    if (!status && problem != status.error().message) {
      log::error("the ledger is not written, guests are served all the same: {}",
                 status.error().message);
    } else if (status && !problem.empty()) {
      log::info("the ledger is written again");
    }
    problem = status ? "" : status.error().message;
  }

  void work() {
    while (!pause()) {
      if (entries.empty()) {
        collect();
      }
      failed = !write();
    }
    write_last();
    const std::lock_guard lock(mutex);
    ended = true;
    changed.notify_all();
  }

  /// True: that was the last one.
  bool pause() {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, failed ? kTryAgain : kTurn, [this] { return stopping; });
  }

  void write_last() {
    const auto until = Clock::now() + kLastWords;
    bool done = false;
    while (!done && Clock::now() < until) {
      if (entries.empty()) {
        collect();
      }
      done = write() && book.close();
      if (!done) {
        std::this_thread::sleep_for(kTurn);
      }
    }
    if (!entries.empty()) {
      log::error("the ledger cannot be written: its last {} records are lost", entries.size());
    }
  }
};

Ledger::Ledger(LedgerOptions options, unsigned tellers)
    : shared_(std::make_shared<Shared>(std::move(options), tellers)),
      thread_([shared = shared_] { shared->work(); }) {
  ::pthread_setname_np(thread_.native_handle(), "ledger");
}

Ledger::~Ledger() {
  {
    std::unique_lock lock(shared_->mutex);
    shared_->stopping = true;
    shared_->changed.notify_all();
    if (!shared_->changed.wait_for(lock, 2 * kLastWords, [this] { return shared_->ended; })) {
      log::error("the ledger's disk does not answer: what is not written is lost");
      thread_.detach();
      return;
    }
  }
  thread_.join();
}

Inbox<Access>& Ledger::inbox(unsigned teller) {
  return *shared_->inboxes.at(teller);
}

Ledger::Health Ledger::health() const {
  Health health{.directory = shared_->options.directory,
                .records = shared_->written,
                .lost = shared_->lost,
                .waiting = shared_->waiting,
                .problem = {},
                .end = {}};
  for (const auto& inbox : shared_->inboxes) {
    health.waiting += inbox->waiting();
  }
  const std::lock_guard lock(shared_->mutex);
  health.problem = shared_->problem;
  health.end = shared_->end;
  return health;
}

}  // namespace metatap::ledger
