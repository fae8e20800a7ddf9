// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// The last state that a source out of this host's reach had, in a file on this host, so that a
/// start while the source cannot be reached serves that. A change costs what it changes. One thread
/// at a time.
class Snapshot {
 public:
  struct State {
    std::shared_ptr<const Inventory> inventory;
    std::int64_t as_of = 0;  ///< when that was known to be the source's state; seconds since 1970
  };

  /// Makes the file where it is missing. `source` says whose state it is (no credential): what the
  /// file has of another source is not believed, and goes with the first keep().
  static Result<std::unique_ptr<Snapshot>> open(const std::filesystem::path& file,
                                                std::string source);
  ~Snapshot();

  /// ErrorCode::not_found: nothing of this source was ever kept.
  [[nodiscard]] Result<State> read();
  /// Makes the file hold this state, at once and as a whole, as that of this moment.
  [[nodiscard]] Status keep(std::shared_ptr<const Inventory> state);

 private:
  class Impl;
  explicit Snapshot(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A snapshot that is opened when there is first something to keep. That it cannot be is a line in
/// the log, and no more: whoever keeps it goes on. keep() is called on one thread at a time.
class KeptSnapshot {
 public:
  /// An empty `file`: nothing is kept. `what`: whose state it is, for the log.
  KeptSnapshot(std::filesystem::path file, std::string source, std::string what);

  void keep(std::shared_ptr<const Inventory> state);
  /// What the file has, read without the rest, so on any thread. ErrorCode::not_found: nothing.
  [[nodiscard]] Result<Snapshot::State> read() const;

 private:
  const std::filesystem::path file_;
  const std::string source_, what_;
  std::unique_ptr<Snapshot> snapshot_;
  bool works_ = true;
};

}  // namespace metatap
