// SPDX-License-Identifier: Apache-2.0
#include "inventory/open_store.hpp"

#include <string>

#include "inventory/postgres_store.hpp"
#include "inventory/sqlite_store.hpp"

namespace metatap {

Result<std::unique_ptr<Store>> open_store(std::string_view database,
                                          const std::filesystem::path& state_path,
                                          std::chrono::milliseconds limit) {
  constexpr std::string_view kSqlite = "sqlite:///";
  if (database.empty()) {
    return SqliteStore::open(state_path / "metatap.db");
  }
  if (database.starts_with(kSqlite) &&
      database.find_first_not_of('/', kSqlite.size()) != std::string_view::npos) {
    const auto path = database.substr(kSqlite.size());
    return SqliteStore::open("/" / std::filesystem::path(path.substr(path.find_first_not_of('/'))));
  }
  if (database.starts_with("postgresql://") || database.starts_with("postgres://") ||
      (database.starts_with("postgresql+") && database.find("://") != std::string_view::npos)) {
    return PostgresStore::open(database, limit);
  }
  // The value is not repeated: it may hold a password.
  return fail(ErrorCode::invalid,
              "[inventory] database: expected sqlite:///PATH or postgresql://USER@HOST/NAME");
}

}  // namespace metatap
