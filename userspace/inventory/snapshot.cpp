// SPDX-License-Identifier: Apache-2.0
#include "inventory/snapshot.hpp"

#include <chrono>
#include <utility>

#include "base/duration_text.hpp"
#include "base/log.hpp"
#include "inventory/difference.hpp"
#include "inventory/sqlite_tables.hpp"

namespace metatap {
class Snapshot::Impl {
 public:
  Impl(std::unique_ptr<SqliteTables> tables, std::string source)
      : tables_(std::move(tables)), source_(std::move(source)) {
    // What a power failure takes of the last seconds is known to the source.
    tables_->database().exec("PRAGMA synchronous = NORMAL");
  }

  [[nodiscard]] const std::string& path() const { return tables_->path(); }

  Result<State> read() {
    const SQLite::Transaction one_moment(tables_->database());
    SQLite::Statement kept(tables_->database(), "SELECT source, as_of FROM state");
    kept.executeStep();
    const auto as_of = kept.getColumn(1).getInt64();
    const bool ours = as_of != 0 && kept.getColumn(0).getString() == source_;
    auto contents = tables_->read();
    if (!contents) {
      return tl::make_unexpected(std::move(contents.error()));
    }
    held_ = std::make_shared<const Inventory>(std::move(contents->inventory));
    if (!ours) {
      return fail(ErrorCode::not_found, path() + ": nothing of " + source_ + " was ever kept");
    }
    return State{held_, as_of};
  }

  Status keep(std::shared_ptr<const Inventory> state) {
    if (!held_) {
      if (const auto kept = read(); !kept && kept.error().code != ErrorCode::not_found) {
        return tl::make_unexpected(kept.error());
      }
    }
    SQLite::Transaction transaction(tables_->database(), SQLite::TransactionBehavior::IMMEDIATE);
    tables_->write(Step{difference(held_, state), {}});
    SQLite::Statement note(tables_->database(), "UPDATE state SET source = ?, as_of = ?");
    note.bind(1, source_);
    note.bind(2, seconds_now());
    note.exec();
    transaction.commit();
    held_ = std::move(state);
    return {};
  }

 private:
  const std::unique_ptr<SqliteTables> tables_;
  const std::string source_;
  std::shared_ptr<const Inventory> held_;  ///< what the file holds; null: not looked yet
};

Snapshot::Snapshot(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Snapshot::~Snapshot() = default;

Result<std::unique_ptr<Snapshot>> Snapshot::open(const std::filesystem::path& file,
                                                 std::string source) {
  auto tables = SqliteTables::open(file);
  if (!tables) {
    return tl::make_unexpected(std::move(tables.error()));
  }
  try {
    return std::unique_ptr<Snapshot>(
        new Snapshot(std::make_unique<Impl>(*std::move(tables), std::move(source))));
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, file.string()));
  }
}

Result<Snapshot::State> Snapshot::read() {
  try {
    return impl_->read();
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

Status Snapshot::keep(std::shared_ptr<const Inventory> state) {
  try {
    return impl_->keep(std::move(state));
  } catch (const SQLite::Exception& failure) {
    return tl::make_unexpected(SqliteTables::error_of(failure, impl_->path()));
  }
}

KeptSnapshot::KeptSnapshot(std::filesystem::path file, std::string source, std::string what)
    : file_(std::move(file)), source_(std::move(source)), what_(std::move(what)) {}

void KeptSnapshot::keep(std::shared_ptr<const Inventory> state) {
  if (file_.empty()) {
    return;
  }
  Status kept;
  if (!snapshot_) {
    auto opened = Snapshot::open(file_, source_);
    if (opened) {
      snapshot_ = *std::move(opened);
    } else {
      kept = tl::make_unexpected(std::move(opened.error()));
    }
  }
  if (kept) {
    kept = snapshot_->keep(std::move(state));
  }
  if (!kept && works_) {
    log::warn("{}: no copy is kept for a start without it: {}", what_, kept.error().message);
  } else if (kept && !works_) {
    log::info("{}: a copy is kept again", what_);
  }
  works_ = kept.has_value();
}

Result<Snapshot::State> KeptSnapshot::read() const {
  std::error_code ignored;
  if (file_.empty() || !std::filesystem::exists(file_, ignored)) {
    return fail(ErrorCode::not_found, "there is no copy on this host");
  }
  auto snapshot = Snapshot::open(file_, source_);
  if (!snapshot) {
    return tl::make_unexpected(std::move(snapshot.error()));
  }
  return (*snapshot)->read();
}

}  // namespace metatap
