// SPDX-License-Identifier: Apache-2.0
#include "inventory/sqlite_tables.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <chrono>
#include <fstream>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "inventory/row.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {
namespace {

constexpr int kApplicationId = 0x6d746170;  // "mtap", in the file's header
constexpr int kWalAttempts = 250;
constexpr std::chrono::milliseconds kWalPause{20};

// The schema, one step for each version of it. A step, once released, is never edited.
constexpr std::array kMigrations{
    R"(CREATE TABLE state (
         one INTEGER PRIMARY KEY CHECK (one = 1),
         revision INTEGER NOT NULL);
       INSERT INTO state VALUES (1, 1);
       CREATE TABLE object (
         kind TEXT NOT NULL,
         id TEXT NOT NULL,
         body TEXT NOT NULL,
         network_info TEXT,
         PRIMARY KEY (kind, id)) WITHOUT ROWID;
       CREATE TABLE ec2_id (
         space INTEGER NOT NULL,
         number INTEGER NOT NULL,
         uuid TEXT NOT NULL,
         PRIMARY KEY (space, number),
         UNIQUE (space, uuid)) WITHOUT ROWID;)",
    // The last two are the snapshot's.
    R"(ALTER TABLE object ADD COLUMN place INTEGER;
       ALTER TABLE state ADD COLUMN source TEXT NOT NULL DEFAULT '';
       ALTER TABLE state ADD COLUMN as_of INTEGER NOT NULL DEFAULT 0;)",
};
constexpr int kNewest = static_cast<int>(kMigrations.size());

/// By the numbers of a file's header; `tables`: whether there is or was something in it.
Status judge(const std::string& path, int version, int application, int tables) {
  if (application != kApplicationId && (application != 0 || version != 0 || tables != 0)) {
    return fail(ErrorCode::invalid,
                fmt::format("database {}: it belongs to another program", path));
  }
  if (version > kNewest) {
    return fail(ErrorCode::unsupported,
                fmt::format("database {}: its schema {} is newer than this program's {}; it was "
                            "left as it is. Use the newer metatapd, or another file",
                            path, version, kNewest));
  }
  return {};
}

}  // namespace

Error SqliteTables::error_of(const SQLite::Exception& error, const std::string& path) {
  ErrorCode code = ErrorCode::internal;
  switch (error.getErrorCode()) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      code = ErrorCode::unavailable;
      break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      code = ErrorCode::invalid;
      break;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      code = ErrorCode::denied;
      break;
    default:
      break;
  }
  return {code, "database " + path + ": " + error.what()};
}

SqliteTables::SqliteTables(const std::filesystem::path& path)
    : path_(path.string()),
      db_(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kSqliteBusyTimeoutMs) {}

Result<std::unique_ptr<SqliteTables>> SqliteTables::open(const std::filesystem::path& path) {
  std::error_code error;
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      return fail_errno(error.value(), "make " + path.parent_path().string());
    }
  }
  // Made here and not by SQLite, because it holds what guests keep secret.
  constexpr mode_t kOwnerOnly = 0600;
  if (const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kOwnerOnly)); !file) {
    return fail_errno(errno, "open " + path.string());
  }
  try {
    std::unique_ptr<SqliteTables> tables(new SqliteTables(path));
    if (auto status = tables->prepare(); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
    return tables;
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, path.string()));
  }
}

Status SqliteTables::check(const std::filesystem::path& path) {
  // Of the file format's header, whose numbers are big-endian.
  constexpr std::string_view kMagic{"SQLite format 3", 16};
  constexpr std::size_t kHeader = 100, kSchemaCookie = 40, kUserVersion = 60, kApplication = 68;
  std::ifstream file(path, std::ios::binary);
  std::array<char, kHeader> header{};
  file.read(header.data(), header.size());
  if (!std::filesystem::exists(path) || (file.is_open() && file.gcount() == 0)) {
    return {};  // one will be made
  }
  if (!file.is_open()) {
    return fail_errno(errno, "open " + path.string());
  }
  if (!file || !std::string_view(header.data(), header.size()).starts_with(kMagic)) {
    return fail(ErrorCode::invalid,
                fmt::format("database {}: file is not a database", path.string()));
  }
  const auto number = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) {
      value = value << 8U | static_cast<unsigned char>(header.at(at + i));
    }
    return static_cast<int>(value);
  };
  return judge(path.string(), number(kUserVersion), number(kApplication), number(kSchemaCookie));
}

Status SqliteTables::prepare() {
  int version = 0, application = 0, tables = 0;
  {
    const SQLite::Transaction one_moment(db_);  // another process may be making the tables now
    tables = db_.execAndGet("SELECT count(*) FROM sqlite_schema").getInt();
    version = db_.execAndGet("PRAGMA user_version").getInt();
    application = db_.execAndGet("PRAGMA application_id").getInt();
  }
  if (auto judged = judge(path_, version, application, tables); !judged) {
    return judged;
  }
  for (int next = version; next < kNewest; ++next) {
    SQLite::Transaction transaction(db_, SQLite::TransactionBehavior::IMMEDIATE);
    if (db_.execAndGet("PRAGMA user_version").getInt() > next) {
      continue;  // another process started at the same moment and was first
    }
    db_.exec(kMigrations.at(static_cast<std::size_t>(next)));
    db_.exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
    db_.exec(fmt::format("PRAGMA user_version = {}", next + 1));
    transaction.commit();
  }
  use_write_ahead_log();
  db_.exec("PRAGMA synchronous = FULL");
  return {};
}

/// SQLite does not wait for other processes here, so we do.
void SqliteTables::use_write_ahead_log() {
  for (int attempt = 0;; ++attempt) {
    try {
      db_.exec("PRAGMA journal_mode = WAL");
      return;
    } catch (const SQLite::Exception& failure) {
      if (failure.getErrorCode() != SQLITE_BUSY || attempt == kWalAttempts) {
        throw;
      }
      std::this_thread::sleep_for(kWalPause);
    }
  }
}

std::uint64_t SqliteTables::revision() {
  return static_cast<std::uint64_t>(db_.execAndGet("SELECT revision FROM state").getInt64());
}

Result<SqliteTables::Contents> SqliteTables::read() {
  Contents contents;
  contents.inventory.revision = revision();
  SQLite::Statement rows(db_,
                         "SELECT kind, body, network_info, place FROM object ORDER BY kind, id");
  while (rows.executeStep()) {
    const auto text = [&](int column) {
      const auto value = rows.getColumn(column);
      return std::string_view(value.getText(), static_cast<std::size_t>(value.getBytes()));
    };
    const auto added =
        add_row(contents.inventory, text(0), text(1),
                rows.isColumnNull(2) ? std::nullopt : std::optional(std::string(text(2))),
                rows.isColumnNull(3) ? std::nullopt : std::optional(rows.getColumn(3).getInt64()));
    if (!added) {
      return fail(added.error().code, "database " + path_ + ": " + added.error().message);
    }
  }
  SQLite::Statement numbers(db_, "SELECT space, number, uuid FROM ec2_id");
  while (numbers.executeStep()) {
    contents.ledger.add({static_cast<Ec2Ledger::Space>(numbers.getColumn(0).getInt()),
                         numbers.getColumn(1).getUInt(), numbers.getColumn(2).getString()});
  }
  return contents;
}

void SqliteTables::write(const Step& step) {
  const auto rows = rows_of(step.change);
  SQLite::Statement put(db_, "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)");
  for (const auto& row : rows.put) {
    put.bind(1, std::string(row.kind));
    put.bindNoCopy(2, row.id);
    put.bindNoCopy(3, row.body);
    if (row.network_info) {
      put.bindNoCopy(4, *row.network_info);
    } else {
      put.bind(4);
    }
    if (row.place) {
      put.bind(5, *row.place);
    } else {
      put.bind(5);
    }
    put.exec();
    put.reset();
  }
  SQLite::Statement erase(db_, "DELETE FROM object WHERE kind = ? AND id = ?");
  for (const auto& [kind, id] : rows.erase) {
    erase.bind(1, std::string(kind));
    erase.bindNoCopy(2, id);
    erase.exec();
    erase.reset();
  }
  SQLite::Statement number(db_, "INSERT INTO ec2_id VALUES (?, ?, ?)");
  for (const auto& entry : step.ec2) {
    number.bind(1, static_cast<int>(entry.space));
    number.bind(2, entry.number);
    number.bindNoCopy(3, entry.uuid);
    number.exec();
    number.reset();
  }
  SQLite::Statement state(db_, "UPDATE state SET revision = ?");
  state.bind(1, static_cast<std::int64_t>(step.change.after->revision));
  state.exec();
}

}  // namespace metatap
