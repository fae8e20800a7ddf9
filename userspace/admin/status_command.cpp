// SPDX-License-Identifier: Apache-2.0
#include "admin/status_command.hpp"

#include <string_view>

#include "admin/table.hpp"
#include "base/duration_text.hpp"

namespace metatap::admin {
namespace {

using Json = Terminal::Json;

/// Figures that are times are known by their names: a span in seconds, or seconds since 1970.
constexpr std::string_view kSpan = "_s", kMoment = "_at";

bool is_span(std::string_view name) {
  return name.ends_with(kSpan) || name == "age";
}

/// A list or an object as a person reads it: with times as he says them, and without what says
/// nothing.
Json for_people(const Json& value, std::int64_t now) {
  if (value.is_array()) {
    Json all = Json::array();
    for (const auto& one : value) {
      all.push_back(for_people(one, now));
    }
    return all;
  }
  if (!value.is_object()) {
    return value;
  }
  Json all = Json::object();
  for (const auto& [name, part] : value.items()) {
    if (part.is_number_integer() && is_span(name)) {
      all[name.substr(0, name.rfind(kSpan))] = duration_text(part.get<std::int64_t>());
    } else if (part.is_number_integer() && name.ends_with(kMoment)) {
      const auto moment = part.get<std::int64_t>();
      all[name.substr(0, name.size() - kMoment.size())] =
          moment == 0 ? "never" : duration_text(now - moment) + " ago";
    } else if (!part.is_null() && part != "" && part != Json::array()) {
      all[name] = for_people(part, now);
    }
  }
  return all;
}

std::string headline(const Terminal& terminal, const Json& health) {
  const bool served = health.value("guests_are_served", false);
  const auto problems = health.value("problems", Json::array());
  std::string text =
      !served ? terminal.paint("guests are NOT served as they should be", Colour::red)
              : terminal.paint(problems.empty() ? "guests are served" : "guests are served, but",
                               problems.empty() ? Colour::green : Colour::yellow);
  text += "\n";
  for (const auto* list : {"problems", "notes"}) {
    for (const auto& one : health.value(list, Json::array())) {
      text += "  " + cell_of(one) + "\n";
    }
  }
  return text + "\n";
}

}  // namespace

std::string status_text(const Terminal& terminal, const Json& status, std::int64_t now) {
  auto sections = for_people(status, now);
  const auto health = status.value("health", Json());
  sections.erase("health");
  return (health.is_object() ? headline(terminal, health) : "") + sections_of(sections);
}

Exit show_status(const Terminal& terminal) {
  return terminal.ask("/v1/status", [&](const Json& status) {
    return status_text(terminal, status, seconds_now());
  });
}

}  // namespace metatap::admin
