// SPDX-License-Identifier: Apache-2.0
#include "admin/doctor_command.hpp"

#include <sys/timex.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "admin/table.hpp"
#include "base/duration_text.hpp"

namespace metatap::admin {
namespace {

using Json = Terminal::Json;

struct Severity {
  std::string_view name, shown;
  Colour colour;
  Exit exit;
};
/// From the worst to the best.
constexpr std::array kSeverities{
    Severity{"error", "ERROR  ", Colour::red, Exit::failed},
    Severity{"warning", "WARNING", Colour::yellow, Exit::warned},
    Severity{"note", "note   ", Colour::plain, Exit::done},
    Severity{"ok", "ok     ", Colour::green, Exit::done},
};

bool has(const Json& finding, const Severity& severity) {
  return finding.value("severity", "") == severity.name;
}

/// The machine's clock, of which its unit keeps a daemon away (ProtectClock).
void add_clock(Json& findings) {
  timex state{};  // read only
  const bool synchronized = ::adjtimex(&state) != TIME_ERROR;
  if (const auto found = clock_finding(std::chrono::system_clock::now(), synchronized);
      findings.is_array() && !found.is_null()) {
    findings.push_back(found);
  }
}

Exit judge(const Json& findings) {
  for (const auto& severity : kSeverities) {
    if (std::ranges::any_of(findings, [&](const Json& one) { return has(one, severity); })) {
      return severity.exit;
    }
  }
  return Exit::done;
}

}  // namespace

Json clock_finding(std::chrono::system_clock::time_point now, bool synchronized) {
  const auto finding = [](const char* severity, const char* message, const char* advice) {
    return Json{
        {"severity", severity}, {"subject", "clock"}, {"message", message}, {"advice", advice}};
  };
  constexpr std::chrono::years kMade{54};  // since 1970
  if (std::chrono::floor<std::chrono::years>(now.time_since_epoch()) < kMade) {
    return finding("warning", "it is years behind",
                   "certificates are not valid yet, and ages are nonsense: set it");
  }
  return synchronized ? Json()
                      : finding("note", "it is not synchronized with anybody's",
                                "certificates and tokens of others depend on it: is there an NTP "
                                "client?");
}

std::string findings_text(const Terminal& terminal, const Json& findings, std::int64_t now) {
  constexpr std::string_view kIndent = "        ";
  std::string text;
  for (const auto& severity : kSeverities) {
    for (const auto& finding : findings) {
      if (!has(finding, severity)) {
        continue;
      }
      text += terminal.paint(severity.shown, severity.colour) + " " +
              cell_of(finding.value("subject", "")) + ": " + cell_of(finding.value("message", ""));
      if (finding.contains("since")) {
        text += ", for " + duration_text(now - finding.value("since", now));
      }
      text += "\n";
      if (const auto advice = finding.value("advice", ""); !advice.empty()) {
        text += std::string(kIndent) + "-> " + cell_of(advice) + "\n";
      }
    }
  }
  return text.empty() ? "nothing is wrong\n" : text;
}

Exit examine(const Terminal& terminal) {
  const auto show = [&](const Json& findings) {
    return findings_text(terminal, findings, seconds_now());
  };
  if (terminal.again) {
    return terminal.ask("/v1/doctor", show, judge, add_clock);
  }
  auto findings = terminal.call("GET", "/v1/doctor");
  if (!findings) {
    terminal.print(Json::array({{{"severity", "error"},
                                 {"subject", "metatapd"},
                                 {"message", findings.error().message},
                                 {"advice", "systemctl status metatapd"}}}),
                   show);
    return exit_for(findings.error());
  }
  if (!findings->is_array()) {
    return terminal.failed({ErrorCode::internal, "metatapd's answer is not a list"});
  }
  add_clock(*findings);
  return terminal.print(*findings, show) ? judge(*findings) : Exit::nobody_reads;
}

}  // namespace metatap::admin
