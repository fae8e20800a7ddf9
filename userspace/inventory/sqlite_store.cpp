// SPDX-License-Identifier: Apache-2.0
#include "inventory/sqlite_store.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "inventory/row.hpp"
#include "inventory/step.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {
namespace {

constexpr int kApplicationId = 0x6d746170;  // "mtap", in the file's header
constexpr int kBusyTimeoutMs = 5000;
constexpr int kWalAttempts = 250;
constexpr std::chrono::milliseconds kWalPause{20};
constexpr std::chrono::milliseconds kLookEvery{200};

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
};

Error error_of(const SQLite::Exception& error, const std::string& where) {
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
  return {code, "database " + where + ": " + error.what()};
}

}  // namespace

class SqliteStore::Impl {
 public:
  explicit Impl(const std::filesystem::path& path)
      : path_(path.string()),
        db_(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kBusyTimeoutMs) {}

  [[nodiscard]] const std::string& path() const { return path_; }

  Status prepare() {
    int version = 0, application = 0, tables = 0;
    {
      const SQLite::Transaction one_moment(db_);  // another process may be making the tables now
      tables = db_.execAndGet("SELECT count(*) FROM sqlite_schema").getInt();
      version = db_.execAndGet("PRAGMA user_version").getInt();
      application = db_.execAndGet("PRAGMA application_id").getInt();
    }
    const int newest = static_cast<int>(kMigrations.size());
    if (application != kApplicationId && (application != 0 || version != 0 || tables != 0)) {
      return fail(ErrorCode::invalid,
                  fmt::format("database {}: it belongs to another program", path_));
    }
    if (version > newest) {
      return fail(ErrorCode::unsupported,
                  fmt::format("database {}: its schema {} is newer than this program's {}; it was "
                              "left as it is. Use the newer metatapd, or another file",
                              path_, version, newest));
    }
    for (int next = version; next < newest; ++next) {
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

  Status read() {
    Inventory inventory;
    Ec2Ledger ledger;
    inventory.revision = revision();
    SQLite::Statement rows(db_, "SELECT kind, body, network_info FROM object ORDER BY kind, id");
    while (rows.executeStep()) {
      const auto text = [&](int column) {
        const auto value = rows.getColumn(column);
        return std::string_view(value.getText(), static_cast<std::size_t>(value.getBytes()));
      };
      const auto added =
          add_row(inventory, text(0), text(1),
                  rows.isColumnNull(2) ? std::nullopt : std::optional(std::string(text(2))));
      if (!added) {
        return fail(added.error().code, "database " + path_ + ": " + added.error().message);
      }
    }
    SQLite::Statement numbers(db_, "SELECT space, number, uuid FROM ec2_id");
    while (numbers.executeStep()) {
      ledger.add({static_cast<Ec2Ledger::Space>(numbers.getColumn(0).getInt()),
                  numbers.getColumn(1).getUInt(), numbers.getColumn(2).getString()});
    }
    stored_ = std::make_shared<const Inventory>(std::move(inventory));
    ledger_ = std::move(ledger);
    known_revision_ = stored_->revision;
    return {};
  }

  /// Runs `make_step(stored, ledger)` and carries its rows out, all or nothing.
  template <class F>
  Result<InventoryChange> transact(F&& make_step) {
    SQLite::Transaction transaction(db_, SQLite::TransactionBehavior::IMMEDIATE);
    if (revision() != stored_->revision) {  // another process wrote; its state is the base
      if (auto status = read(); !status) {
        return tl::make_unexpected(std::move(status.error()));
      }
    }
    Result<Step> step = make_step(std::as_const(stored_), std::as_const(ledger_));
    if (!step) {
      return tl::make_unexpected(std::move(step.error()));
    }
    if (step->changes()) {
      write(*step);
      known_revision_ = step->change.after->revision;  // before the watcher can see it
      try {
        transaction.commit();
      } catch (const SQLite::Exception&) {
        known_revision_ = stored_->revision;
        throw;
      }
      for (const auto& entry : step->ec2) {
        ledger_.add(entry);
      }
      stored_ = step->change.after;
    }
    return std::move(step->change);
  }

  [[nodiscard]] const std::shared_ptr<const Inventory>& stored() const { return stored_; }

  /// Looks on a thread and a connection of its own: `PRAGMA data_version` is a read of shared
  /// memory, and differs once another connection has committed.
  void watch(std::function<void()> changed) {
    watcher_ = std::jthread([this, changed = std::move(changed)](const std::stop_token& stop) {
      try {
        SQLite::Database db(path_, SQLite::OPEN_READONLY, kBusyTimeoutMs);
        SQLite::Statement version(db, "PRAGMA data_version");
        SQLite::Statement revision(db, "SELECT revision FROM state");
        std::mutex mutex;
        std::condition_variable_any wake;
        std::unique_lock lock(mutex);
        for (std::int64_t seen = -1; !stop.stop_requested();) {
          const auto now = number(version);
          if (now != seen &&
              static_cast<std::uint64_t>(number(revision)) > known_revision_.load()) {
            changed();
          }
          seen = now;
          wake.wait_for(lock, stop, kLookEvery, [] { return false; });
        }
      } catch (const SQLite::Exception& failure) {
        log::error("database {}: no longer watched for others' changes: {}", path_, failure.what());
      }
    });
  }

 private:
  static std::int64_t number(SQLite::Statement& statement) {
    statement.executeStep();
    const auto value = statement.getColumn(0).getInt64();
    statement.reset();
    return value;
  }

  /// SQLite does not wait for other processes here, so we do.
  void use_write_ahead_log() {
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

  std::uint64_t revision() {
    return static_cast<std::uint64_t>(db_.execAndGet("SELECT revision FROM state").getInt64());
  }

  void write(const Step& step) {
    const auto rows = rows_of(step.change);
    SQLite::Statement put(db_, "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?)");
    for (const auto& row : rows.put) {
      put.bind(1, std::string(row.kind));
      put.bindNoCopy(2, row.id);
      put.bindNoCopy(3, row.body);
      if (row.network_info) {
        put.bindNoCopy(4, *row.network_info);
      } else {
        put.bind(4);
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

  std::string path_;
  SQLite::Database db_;
  std::shared_ptr<const Inventory> stored_ = std::make_shared<const Inventory>();
  Ec2Ledger ledger_;
  std::atomic<std::uint64_t> known_revision_{0};  ///< the newest that is ours or was loaded
  std::jthread watcher_;                          ///< last: stops before the rest goes
};

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<Store>> SqliteStore::open(const std::filesystem::path& path) {
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
    auto impl = std::make_unique<Impl>(path);
    if (auto status = impl->prepare(); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
    return std::unique_ptr<Store>(new SqliteStore(std::move(impl)));
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, path.string()));
  }
}

Result<std::shared_ptr<const Inventory>> SqliteStore::load() {
  try {
    if (auto status = impl_->read(); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
    return impl_->stored();
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::replace(const Inventory& wanted) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger& ledger) {
      return step_replace(stored, ledger, wanted);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::set_password(std::string_view instance_id,
                                                  std::string_view text) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
      return step_set_password(stored, instance_id, text);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::clear_password(std::string_view instance_id) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
      return step_clear_password(stored, instance_id);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(error_of(failure, impl_->path()));
  }
}

void SqliteStore::on_foreign_change(std::function<void()> callback) {
  impl_->watch(std::move(callback));
}

Store::Health SqliteStore::health() const {
  return {true, "sqlite:" + impl_->path(), "ok"};
}

}  // namespace metatap
