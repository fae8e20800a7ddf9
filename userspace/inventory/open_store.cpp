// SPDX-License-Identifier: Apache-2.0
#include "inventory/open_store.hpp"

#include <string>

#include "inventory/postgres_store.hpp"
#include "inventory/sqlite_store.hpp"

namespace metatap {
namespace {

/// Has `sqlite` take the file, or `postgres` the URL, that the option names.
template <class Sqlite, class Postgres>
auto by_kind(std::string_view database, const std::filesystem::path& state_path, Sqlite&& sqlite,
             Postgres&& postgres) -> decltype(postgres(database)) {
  constexpr std::string_view kSqlite = "sqlite:///";
  if (database.empty()) {
    return sqlite(state_path / "metatap.db");
  }
  if (database.starts_with(kSqlite) &&
      database.find_first_not_of('/', kSqlite.size()) != std::string_view::npos) {
    const auto path = database.substr(kSqlite.size());
    return sqlite("/" / std::filesystem::path(path.substr(path.find_first_not_of('/'))));
  }
  if (database.starts_with("postgresql://") || database.starts_with("postgres://") ||
      (database.starts_with("postgresql+") && database.find("://") != std::string_view::npos)) {
    return postgres(database);
  }
  // The value is not repeated: it may hold a password.
  return fail(ErrorCode::invalid,
              "[inventory] database: expected sqlite:///PATH or postgresql://USER@HOST/NAME");
}

}  // namespace

Result<std::unique_ptr<Store>> open_store(std::string_view database,
                                          const std::filesystem::path& state_path,
                                          std::chrono::milliseconds limit, std::string host) {
  return by_kind(database, state_path, SqliteStore::open, [&](std::string_view url) {
    return PostgresStore::open(url, limit, std::move(host));
  });
}

Status check_store(std::string_view database, const std::filesystem::path& state_path,
                   std::chrono::milliseconds limit) {
  return by_kind(database, state_path, SqliteStore::check,
                 [&](std::string_view url) { return PostgresStore::check(url, limit); });
}

}  // namespace metatap
