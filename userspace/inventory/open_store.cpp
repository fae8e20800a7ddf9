// SPDX-License-Identifier: Apache-2.0
#include "inventory/open_store.hpp"

#include <string>

#include "inventory/postgres_store.hpp"
#include "inventory/sqlite_store.hpp"

namespace metatap {

Result<std::unique_ptr<Store>> open_store(std::string_view connection,
                                          const std::filesystem::path& state_path) {
  constexpr std::string_view kSqlite = "sqlite:///";
  if (connection.empty()) {
    return SqliteStore::open(state_path / "metatap.db");
  }
  if (connection.starts_with(kSqlite) &&
      connection.find_first_not_of('/', kSqlite.size()) != connection.npos) {
    const auto path = connection.substr(kSqlite.size());
    return SqliteStore::open("/" / std::filesystem::path(path.substr(path.find_first_not_of('/'))));
  }
  if (connection.starts_with("postgresql://") || connection.starts_with("postgres://") ||
      (connection.starts_with("postgresql+") && connection.find("://") != connection.npos)) {
    return PostgresStore::open(connection);
  }
  // The value is not repeated: it may hold a password.
  return fail(ErrorCode::invalid,
              "[database] connection: expected sqlite:///PATH or postgresql://USER@HOST/NAME");
}

}  // namespace metatap
