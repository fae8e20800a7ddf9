// SPDX-License-Identifier: Apache-2.0
#include "admin/port_commands.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "admin/table.hpp"
#include "base/duration_text.hpp"
#include "base/text.hpp"

namespace metatap::admin {
namespace {

using Json = Terminal::Json;

std::string path_of(const std::string& wanted) {
  return "/v1/ports/" + percent_encoded(wanted);
}

std::pair<std::string_view, Colour> mark_of(std::string_view verdict) {
  if (verdict == "ok") {
    return {"ok    ", Colour::green};
  }
  return verdict == "bad" ? std::pair{std::string_view("BAD   "), Colour::red}
                          : std::pair{std::string_view("note  "), Colour::yellow};
}

}  // namespace

std::string ports_text(const Json& rows) {
  Json short_rows = Json::array();
  constexpr std::array kColumns{
      "id",   "instance", "device", "addresses",        "state", "where", "vlan",
      "name", "ovn",      "access", "forwarded_inside", "reason"};
  for (const auto& row : rows) {
    auto& one = short_rows.emplace_back(Json::object());
    for (const auto* column : kColumns) {
      if (row.contains(column)) {
        one[column] = row[column];
      }
    }
    if (const auto access = one.find("access"); access != one.end()) {
      *access = access->value("tokens", "");
    }
    if (row.value("where", "") == row.value("device", "")) {
      one.erase("where");  // once is enough
    }
  }
  return table_of(short_rows, {kColumns.begin(), kColumns.end()});
}

std::string port_text(const Json& details, std::int64_t now) {
  Json sections{{"port", details.value("port", Json::object())}};
  for (const auto& place : details.value("places", Json::array())) {
    const auto served = place.value("served", Json::object());
    auto& section = sections[served.value("via", "") + " " + served.value("where", "")];
    section = served;
    section.erase("via");
    section.erase("where");
    section["traffic"] = place.value("traffic", Json::object());
    section["packets"] = place.value("packets", Json::array());
    section["addresses_that_may_ask"] = place.value("addresses", Json::array());
    auto strangers = place.value("strangers", Json::array());
    for (auto& seen : strangers) {
      for (const auto* when : {"first_seen", "last_seen"}) {
        seen[when] = duration_text(now - seen.value(when, now)) + " ago";
      }
    }
    section["seen_but_none_of_the_port's"] = strangers;
  }
  return sections_of(sections);
}

std::string explanation_text(const Terminal& terminal, const Json& explanation) {
  std::string text;
  for (const auto& stage : explanation.value("stages", Json::array())) {
    const auto [mark, colour] = mark_of(stage.value("verdict", ""));
    auto name = stage.value("stage", "");
    name.resize(std::max<std::size_t>(name.size(), 8), ' ');
    text += terminal.paint(mark, colour) + name + " " + cell_of(stage["what"]) + "\n";
    if (const auto advice = stage.value("advice", ""); !advice.empty()) {
      text += "      -> " + cell_of(advice) + "\n";
    }
  }
  const bool healthy = explanation.value("healthy", false);
  text += "\n" +
          terminal.paint(healthy ? "a request of this guest is answered"
                                 : "a request of this guest ends here: " +
                                       cell_of(explanation.value("because", "")),
                         Colour::bold) +
          "\n";
  if (const auto advice = explanation.value("advice", ""); !healthy && !advice.empty()) {
    text += "what to do: " + cell_of(advice) + "\n";
  }
  return text;
}

Exit show_ports(const Terminal& terminal) {
  return terminal.ask("/v1/ports", ports_text);
}

Exit show_port(const Terminal& terminal, const std::string& wanted) {
  return terminal.ask(path_of(wanted),
                      [](const Json& details) { return port_text(details, seconds_now()); });
}

Exit explain_port(const Terminal& terminal, const std::string& wanted) {
  return terminal.ask(
      path_of(wanted) + "/explain",
      [&](const Json& explanation) { return explanation_text(terminal, explanation); },
      [](const Json& explanation) {
        return explanation.value("healthy", false) ? Exit::done : Exit::failed;
      });
}

}  // namespace metatap::admin
