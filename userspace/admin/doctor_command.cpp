// SPDX-License-Identifier: Apache-2.0
#include "admin/doctor_command.hpp"

#include <algorithm>
#include <array>
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

Exit judge(const Json& findings) {
  for (const auto& severity : kSeverities) {
    if (std::ranges::any_of(findings, [&](const Json& one) { return has(one, severity); })) {
      return severity.exit;
    }
  }
  return Exit::done;
}

}  // namespace

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
    return terminal.ask("/v1/doctor", show, judge);
  }
  const auto findings = terminal.call("GET", "/v1/doctor");
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
  return terminal.print(*findings, show) ? judge(*findings) : Exit::nobody_reads;
}

}  // namespace metatap::admin
