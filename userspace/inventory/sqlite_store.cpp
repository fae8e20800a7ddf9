// SPDX-License-Identifier: Apache-2.0
#include "inventory/sqlite_store.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "inventory/sqlite_tables.hpp"
#include "inventory/step.hpp"

namespace metatap {
namespace {

constexpr std::chrono::milliseconds kLookEvery{200};

}  // namespace

class SqliteStore::Impl {
 public:
  explicit Impl(std::unique_ptr<SqliteTables> tables) : tables_(std::move(tables)) {}

  [[nodiscard]] const std::string& path() const { return tables_->path(); }

  Status read() {
    auto contents = tables_->read();
    if (!contents) {
      return tl::make_unexpected(std::move(contents.error()));
    }
    stored_ = std::make_shared<const Inventory>(std::move(contents->inventory));
    ledger_ = std::move(contents->ledger);
    known_revision_ = stored_->revision;
    return {};
  }

  /// Runs `make_step(stored, ledger)` and carries its rows out, all or nothing.
  template <class F>
  Result<InventoryChange> transact(F&& make_step) {
    SQLite::Transaction transaction(tables_->database(), SQLite::TransactionBehavior::IMMEDIATE);
    if (tables_->revision() != stored_->revision) {  // another process wrote; its state is the base
      if (auto status = read(); !status) {
        return tl::make_unexpected(std::move(status.error()));
      }
    }
    Result<Step> step = make_step(std::as_const(stored_), std::as_const(ledger_));
    if (!step) {
      return tl::make_unexpected(std::move(step.error()));
    }
    if (step->changes()) {
      tables_->write(*step);
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
        SQLite::Database db(path(), SQLite::OPEN_READONLY, kSqliteBusyTimeoutMs);
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
        log::error("database {}: no longer watched for others' changes: {}", path(),
                   failure.what());
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

  const std::unique_ptr<SqliteTables> tables_;
  std::shared_ptr<const Inventory> stored_ = std::make_shared<const Inventory>();
  Ec2Ledger ledger_;
  std::atomic<std::uint64_t> known_revision_{0};  ///< the newest that is ours or was loaded
  std::jthread watcher_;                          ///< last: stops before the rest goes
};

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<Store>> SqliteStore::open(const std::filesystem::path& path) {
  auto tables = SqliteTables::open(path);
  if (!tables) {
    return tl::make_unexpected(std::move(tables.error()));
  }
  return std::unique_ptr<Store>(new SqliteStore(std::make_unique<Impl>(*std::move(tables))));
}

Status SqliteStore::check(const std::filesystem::path& path) {
  return SqliteTables::check(path);
}

Result<std::shared_ptr<const Inventory>> SqliteStore::load() {
  try {
    if (auto status = impl_->read(); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
    return impl_->stored();
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::replace(const Inventory& wanted) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger& ledger) {
      return step_replace(stored, ledger, wanted);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::set_password(std::string_view instance_id,
                                                  std::string_view text) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
      return step_set_password(stored, instance_id, text);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

Result<InventoryChange> SqliteStore::clear_password(std::string_view instance_id) {
  try {
    return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
      return step_clear_password(stored, instance_id);
    });
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

void SqliteStore::on_foreign_change(std::function<void()> callback) {
  impl_->watch(std::move(callback));
}

Store::Health SqliteStore::health() const {
  return {true, "sqlite:" + impl_->path(), "ok"};
}

}  // namespace metatap
