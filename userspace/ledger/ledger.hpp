// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "ledger/book.hpp"
#include "ledger/inbox.hpp"
#include "ledger/record.hpp"

namespace metatap::ledger {

struct LedgerOptions {
  std::filesystem::path directory;  ///< [proxy] ledger; empty: there is none
  BookLimits limits;                ///< [proxy] ledger_file_size, ledger_files
};

/// Who read what: an append-only list of the answers to guests, on disk. Whoever tells of an answer
/// never waits: he leaves it in the inbox of his thread, and another thread writes. When the disk
/// is slow, full or away the inboxes fill, and then answers are lost; how many is counted, and
/// stands in the ledger as a gap once it can be written again.
class Ledger {
 public:
  /// `tellers`: threads that will tell.
  Ledger(LedgerOptions options, unsigned tellers);
  /// Writes what was told. A disk that takes no notice is waited for, but not for long.
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  /// For one thread, which has that number.
  [[nodiscard]] Inbox<Access>& inbox(unsigned teller);

  struct Health {
    std::filesystem::path directory;
    std::uint64_t records = 0;  ///< written by this process
    std::uint64_t lost = 0;     ///< answers that found no room
    std::uint64_t waiting = 0;  ///< answers that are not written yet
    std::string problem;        ///< why nothing can be written; empty: it can
    ChainEnd end;               ///< of what was written
  };
  /// Any thread.
  [[nodiscard]] Health health() const;

  /// What an inbox holds: more than what comes while the thread sleeps.
  static constexpr std::size_t kRoom = 4096;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace metatap::ledger
