// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ledger/chain.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::ledger {

struct BookLimits {
  std::uint64_t file_size = 16U << 20U;  ///< bytes; the next file begins when one has so many
  unsigned files = 16;                   ///< the oldest go when there are more
};

/// The files of a ledger, for those who write it. Several processes may, as two workers of which
/// one takes the other's place: each takes the directory for the moment in which it adds (flock),
/// and goes on from what it finds there. One thread.
///
/// What a process that was killed left is put right by whoever comes next: half a record is cut
/// off, and where nobody has said that it ended, a gap says so. A directory or file that others may
/// have written is not used.
class Book {
 public:
  Book(std::filesystem::path directory, BookLimits limits);

  struct Added {
    std::size_t entries = 0;  ///< so many, from the first on
    Status status;            ///< why not all
  };
  /// Makes records of these entries (next_line()). What could not be added left nothing behind.
  /// ErrorCode::unavailable: another process is adding at this moment.
  Added add(std::span<const std::string> entries);
  /// Says that this process writes no more, if it was the last one.
  Status close();

  /// Where the chain was when we last wrote.
  [[nodiscard]] const ChainEnd& end() const { return end_; }

 private:
  class Turn;
  Status enter();
  void leave();
  Status find_end();
  Status open_newest(const std::vector<std::uint64_t>& files);
  Status greet();
  Added put(std::span<const std::string> entries);
  Status begin_file();
  Status write(std::span<const std::string> entries, std::size_t& written);
  void remove_oldest() const;

  const std::filesystem::path path_;
  const BookLimits limits_;
  UniqueFd directory_;
  UniqueFd writers_;  ///< locked by all who write, shared, for as long as they do
  bool greeted_ = false;
  ChainEnd end_;
  bool ended_ = false;  ///< the last record is that of an end
  UniqueFd file_;       ///< the newest
  std::uint64_t first_ = 0;
  std::uint64_t size_ = 0;
};

}  // namespace metatap::ledger
