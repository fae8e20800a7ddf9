// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "admin/terminal.hpp"
#include "ledger/record.hpp"

/// `metatap audit`: who read what, of the access ledger's files.
namespace metatap::admin {

/// Which records are shown; what is empty is no condition. A gap is always shown that is not too
/// old: records that would fit may be missing there.
struct AuditFilter {
  std::string port, instance;  ///< ids, or what they begin with
  std::string verdict;
  std::string since;  ///< as since_text() makes it
  [[nodiscard]] bool shows(const ledger::Json& record) const;
};

/// The moment that somebody means, as the ledger writes it, or the beginning of that:
/// "2026-11-26T12:00" (UTC), or "90s", "15m", "12h", "7d" before `now` (milliseconds since 1970).
[[nodiscard]] Result<std::string> since_text(std::string_view wanted, std::int64_t now);

/// One line.
[[nodiscard]] std::string record_text(const ledger::Json& record);

/// `where`: a file or directory; empty: where the daemon writes. Shows records, or with `verify`
/// whether they are as they were written. Exit::failed: they are not.
[[nodiscard]] Exit audit(const Terminal& terminal, std::string where, const AuditFilter& filter,
                         bool verify);

}  // namespace metatap::admin
