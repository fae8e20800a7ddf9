// SPDX-License-Identifier: Apache-2.0
#include "inventory/sqlite_store.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
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

  /// Looks on a thread of its own. What fails is tried again, for as long as it takes; health()
  /// says so meanwhile.
  void watch(std::function<void()> changed) {
    watcher_ = std::jthread([this, changed = std::move(changed)](const std::stop_token& stop) {
      std::optional<Eye> eye;
      std::mutex mutex;
      std::condition_variable_any wake;
      std::unique_lock lock(mutex);
      while (!stop.stop_requested()) {
        try {
          if (!eye) {
            eye.emplace(path());
          }
          if (eye->newer_than(known_revision_)) {
            changed();
          }
          saw({});
        } catch (const SQLite::Exception& failure) {
          eye.reset();
          saw(failure.what());
        }
        wake.wait_for(lock, stop, kLookEvery, [] { return false; });
      }
    });
  }

  [[nodiscard]] Health health() const {
    const std::lock_guard lock(health_mutex_);
    return {blind_because_.empty(), "sqlite:" + path(),
            blind_because_.empty() ? "ok" : "others' changes are not seen: " + blind_because_};
  }

 private:
  /// Looks through a connection of its own: `PRAGMA data_version` is a read of shared memory, and
  /// differs once another connection has committed.
  class Eye {
   public:
    explicit Eye(const std::string& path)
        : db_(path, SQLite::OPEN_READONLY, kSqliteBusyTimeoutMs) {}

    /// Whether there is a newer revision, which was not seen before.
    bool newer_than(std::uint64_t known) {
      const auto now = number(version_);
      const bool newer = now != seen_ && static_cast<std::uint64_t>(number(revision_)) > known;
      seen_ = now;
      return newer;
    }

   private:
    static std::int64_t number(SQLite::Statement& statement) {
      statement.reset();
      statement.executeStep();
      const auto value = statement.getColumn(0).getInt64();
      statement.reset();
      return value;
    }

    SQLite::Database db_;
    SQLite::Statement version_{db_, "PRAGMA data_version"};
    SQLite::Statement revision_{db_, "SELECT revision FROM state"};
    std::int64_t seen_ = -1;
  };

  /// What came of a look: why nothing was seen; empty: it was.
  void saw(std::string failure) {
    const std::lock_guard lock(health_mutex_);
    if (failure == blind_because_) {
      return;
    }
    if (failure.empty()) {
      log::info("database {}: watched again", path());
    } else if (blind_because_.empty()) {
      log::error("database {}: others' changes are not seen until it can be read again: {}", path(),
                 failure);
    }
    blind_because_ = std::move(failure);
  }

  const std::unique_ptr<SqliteTables> tables_;
  std::shared_ptr<const Inventory> stored_ = std::make_shared<const Inventory>();
  Ec2Ledger ledger_;
  std::atomic<std::uint64_t> known_revision_{0};  ///< the newest that is ours or was loaded
  mutable std::mutex health_mutex_;
  std::string blind_because_;  ///< why the last look at others' changes failed; empty: it did not
  std::jthread watcher_;       ///< last: stops before the rest goes
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
  return impl_->health();
}

}  // namespace metatap
