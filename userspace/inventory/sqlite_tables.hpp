// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "inventory/step.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// Our tables in one SQLite file: what SqliteStore and Snapshot have in common. Throws
/// SQLite::Exception where nothing else is said, of which error_of() makes an Error. One thread at
/// a time.
class SqliteTables {
 public:
  /// Makes the file (only its owner reads it), its directory and the tables where they are missing.
  /// Refuses a file of another program, and one with a newer schema. Does not throw.
  static Result<std::unique_ptr<SqliteTables>> open(const std::filesystem::path& path);
  /// What open() would refuse, without touching the file: SQLite would make others beside it.
  static Status check(const std::filesystem::path& path);

  [[nodiscard]] SQLite::Database& database() { return db_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t revision();

  struct Contents {
    Inventory inventory;
    Ec2Ledger ledger;
  };
  [[nodiscard]] Result<Contents> read();
  /// Within the caller's transaction.
  void write(const Step& step);

  /// How a failure of SQLite is told.
  [[nodiscard]] static Error error_of(const SQLite::Exception& error, const std::string& path);

 private:
  explicit SqliteTables(const std::filesystem::path& path);
  Status prepare();
  void use_write_ahead_log();

  std::string path_;
  SQLite::Database db_;
};

/// How long SQLite waits for another process that holds the file's lock.
inline constexpr int kSqliteBusyTimeoutMs = 5000;

}  // namespace metatap
