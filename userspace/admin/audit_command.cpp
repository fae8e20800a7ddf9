// SPDX-License-Identifier: Apache-2.0
#include "admin/audit_command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "admin/table.hpp"
#include "ledger/audit.hpp"

namespace metatap::admin {
namespace {

using Json = ledger::Json;

/// Also of a record that somebody else has written.
std::string_view word(const Json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_string()
             ? std::string_view(found->get_ref<const std::string&>())
             : std::string_view();
}
std::string cell(const Json& record, const char* key) {
  const auto found = record.find(key);
  const auto text = found == record.end() || found->is_structured() ? "" : cell_of(*found);
  return text.empty() ? "-" : text;
}

/// Where the running daemon writes.
Result<std::string> ledger_of_daemon(const Terminal& terminal) {
  const auto status = terminal.call("GET", "/v1/status");
  if (!status) {
    return tl::make_unexpected(status.error());
  }
  auto directory = status->value("ledger", Json::object()).value("directory", "");
  if (directory.empty()) {
    return fail(ErrorCode::not_found,
                "this metatapd writes no ledger ([proxy] ledger); name a file or a directory");
  }
  return directory;
}

Json summary(const ledger::Audit& audit) {
  return {{"files", audit.files},
          {"records", audit.records},
          {"first", audit.first},
          {"last", audit.end.record},
          {"chain", audit.end.link},
          {"gaps", audit.gaps},
          {"lost", audit.lost},
          {"half", audit.half},
          {"broken", audit.broken.empty() ? Json() : Json(audit.broken)}};
}

std::string summary_text(const Terminal& terminal, const ledger::Audit& audit) {
  auto text = audit.broken.empty()
                  ? terminal.paint("unbroken", Colour::green)
                  : terminal.paint("BROKEN", Colour::red) + " at " + cell_of(audit.broken);
  text += fmt::format("\n{} files, {} records from number {} on\n", audit.files, audit.records,
                      audit.first);
  if (audit.gaps != 0) {
    text += fmt::format("{} gaps: {} answers are known to be missing\n", audit.gaps, audit.lost);
  }
  if (audit.half) {
    text += "the newest file ends with half a record: it is being written, or its writer died\n";
  }
  return text + fmt::format("{} record {}, chain {}\n",
                            audit.broken.empty() ? "last" : "unbroken to", audit.end.record,
                            audit.end.link);
}

}  // namespace

bool AuditFilter::shows(const Json& record) const {
  if (!record.is_object() || word(record, "time") < since) {
    return false;
  }
  return word(record, "kind") == ledger::kGap ||
         (word(record, "port").starts_with(port) &&
          word(record, "instance").starts_with(instance) &&
          (verdict.empty() || word(record, "verdict") == verdict));
}

Result<std::string> since_text(std::string_view wanted, std::int64_t now) {
  constexpr std::string_view kPattern = "dddd-dd-ddTdd:dd:dd.dddZ";
  constexpr std::size_t kDay = std::string_view("dddd-dd-dd").size();
  const bool moment =
      wanted.size() >= kDay && wanted.size() <= kPattern.size() &&
      std::ranges::equal(wanted, kPattern.substr(0, wanted.size()), [](char its, char pattern) {
        return pattern == 'd' ? its >= '0' && its <= '9' : its == pattern;
      });
  if (moment) {
    return std::string(wanted);
  }
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), count);
  const auto unit = wanted.substr(static_cast<std::size_t>(end - wanted.data()));
  constexpr std::int64_t kMost = 1'000'000'000;
  const std::int64_t seconds = unit == "s"   ? 1
                               : unit == "m" ? 60
                               : unit == "h" ? 3600
                               : unit == "d" ? 86'400
                                             : 0;
  if (error != std::errc() || count < 0 || seconds == 0 || count > kMost / seconds) {
    return fail(ErrorCode::invalid,
                "--since: expected a moment such as 2026-11-26T12:00 (UTC), or 90s, 15m, 12h, 7d");
  }
  return ledger::time_text_of_epoch(now - count * seconds * 1000);
}

std::string record_text(const Json& record) {
  const auto begin = cell(record, "time") + " ";
  const auto kind = word(record, "kind");
  if (kind == ledger::kAccess) {
    auto text = fmt::format("{}port {} instance {} {} {} {} token {} {} {} {} B", begin,
                            cell(record, "port"), cell(record, "instance"), cell(record, "address"),
                            cell(record, "method"), cell(record, "path"), cell(record, "token"),
                            cell(record, "verdict"), cell(record, "status"), cell(record, "bytes"));
    if (record.contains("reason")) {
      text += " " + cell(record, "reason");
    }
    return text + "\n";
  }
  if (kind == ledger::kGap) {
    return fmt::format("{}gap: {} answers are missing ({})\n", begin,
                       record.value("lost", Json()).is_number() ? cell(record, "lost")
                                                                : "it is not known how many",
                       cell(record, "reason"));
  }
  return begin + cell(record, "kind") + "\n";
}

Exit audit(const Terminal& terminal, std::string where, const AuditFilter& filter, bool verify) {
  if (where.empty()) {
    auto told = ledger_of_daemon(terminal);
    if (!told) {
      return terminal.failed(told.error());
    }
    where = *std::move(told);
  }
  bool read = true;
  const auto read_all = ledger::read_ledger(where, [&](const Json& record, std::string_view line) {
    if (!verify && filter.shows(record)) {
      read = terminal.write(terminal.json ? std::string(line) + "\n" : record_text(record));
    }
    return read;
  });
  if (!read_all) {
    return terminal.failed(read_all.error());
  }
  if (verify) {
    read = terminal.print(summary(*read_all),
                          [&](const Json&) { return summary_text(terminal, *read_all); });
  } else if (!read_all->broken.empty()) {
    terminal.complain("this is not all as it was written: " + cell_of(read_all->broken));
  }
  if (!read) {
    return Exit::nobody_reads;
  }
  return read_all->broken.empty() ? Exit::done : Exit::failed;
}

}  // namespace metatap::admin
