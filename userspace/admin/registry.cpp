// SPDX-License-Identifier: Apache-2.0
#include "admin/registry.hpp"

#include <algorithm>

#include "base/duration_text.hpp"
#include "base/text.hpp"

namespace metatap::admin {
namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(path.front() == '/' ? 1 : 0);
    const auto end = std::min(path.find('/'), path.size());
    segments.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return segments;
}

std::pair<unsigned, std::string_view> describe(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid:
      return {400, "invalid"};
    case ErrorCode::not_found:
      return {404, "not_found"};
    case ErrorCode::conflict:
      return {409, "conflict"};
    case ErrorCode::denied:
      return {403, "denied"};
    case ErrorCode::unsupported:
      return {501, "unsupported"};
    case ErrorCode::unavailable:
      return {503, "unavailable"};
    case ErrorCode::timeout:
      return {504, "timeout"};
    case ErrorCode::internal:
      break;
  }
  return {500, "internal"};
}

std::string_view name_of(Finding::Severity severity) {
  switch (severity) {
    case Finding::Severity::ok:
      return "ok";
    case Finding::Severity::note:
      return "note";
    case Finding::Severity::warning:
      return "warning";
    case Finding::Severity::error:
      break;
  }
  return "error";
}

/// "3 packets", "4 packets": the same thing.
std::string without_figures(std::string text) {
  std::erase_if(text, [](char c) { return c >= '0' && c <= '9'; });
  return text;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// Notes alone are no problem.
bool is_healthy(std::string_view problems) {
  return std::ranges::all_of(
      lines_of(problems), [](std::string_view line) { return line.starts_with(Registry::kNote); });
}

}  // namespace

bool Call::flag(std::string_view name) const {
  const auto found = query.find(name);
  return found != query.end() && found->second != "0" && found->second != "false";
}

void Registry::add_status(std::string name, std::function<Json()> show) {
  status_.emplace_back(std::move(name), std::move(show));
}

void Registry::add_metrics(std::function<void(Metrics&)> collect) {
  metrics_.push_back(std::move(collect));
}

void Registry::add_port_facts(std::function<Json(const Port&)> facts) {
  port_facts_.push_back(std::move(facts));
}

void Registry::set_elsewhere(Elsewhere elsewhere) {
  elsewhere_ = std::move(elsewhere);
}

void Registry::add_findings(std::function<std::vector<Finding>()> look, Pace pace) {
  findings_.emplace_back(std::move(look), pace);
}

void Registry::add_watch(std::function<void()> look) {
  watches_.push_back(std::move(look));
}

void Registry::add_notes(std::function<std::vector<std::string>()> notes) {
  notes_.push_back(std::move(notes));
}

void Registry::add_health(std::string name, std::function<std::string()> problem, Guests guests) {
  health_.push_back({std::move(name), std::move(problem), guests});
}

void Registry::add_action(std::string method, std::string pattern, Action action) {
  routes_.push_back({std::move(method), split(pattern), std::move(action)});
}

void Registry::add_json_action(std::string method, std::string pattern, JsonAction action) {
  // The coroutine takes the function by value: it must outlive the call, whatever the caller does.
  add_action(std::move(method), std::move(pattern),
             [action = std::move(action)](Call call) -> boost::asio::awaitable<Response> {
               return [](JsonAction run, Call made) -> boost::asio::awaitable<Response> {
                 const auto result = run(made);
                 co_return result ? json_response(*result) : error_response(result.error());
               }(action, std::move(call));
             });
}

boost::asio::awaitable<Json> Registry::elsewhere(View view, std::string about) const {
  if (!elsewhere_) {
    co_return Json();
  }
  co_return co_await elsewhere_(view, std::move(about));
}

Json Registry::status(const Json& elsewhere) const {
  Json all{{"health", health(elsewhere.is_object() ? elsewhere.value("health", Json()) : Json())}};
  for (const auto& [name, show] : status_) {
    all[name].update(show());
  }
  if (elsewhere.is_object()) {
    for (const auto& [name, section] : elsewhere.items()) {
      if (name != "health" && section.is_object()) {
        all[name].update(section);
      }
    }
  }
  return all;
}

/// `elsewhere`: the other process' health. It has been asked for all of its status, and not for
/// what it says under the other two views.
Json Registry::health(const Json& elsewhere) const {
  const bool answered = elsewhere.is_object();
  const auto its = answered ? Json("") : Json();
  Json health{{"guests_are_served", is_healthy(problems_for(View::unready, its)) &&
                                        (!answered || elsewhere.value("guests_are_served", false))},
              {"problems", Json::array()},
              {"notes", Json::array()}};
  if (answered) {
    health["problems"] = elsewhere.value("problems", Json::array());
    health["notes"] = elsewhere.value("notes", Json::array());
  }
  const auto said = problems_for(View::problems, its);
  for (const auto line : lines_of(said)) {
    const bool note = line.starts_with(kNote);
    health[note ? "notes" : "problems"].push_back(line.substr(note ? kNote.size() : 0));
  }
  return health;
}

std::string Registry::metrics(const Json& elsewhere) const {
  Metrics metrics;
  for (const auto& collect : metrics_) {
    collect(metrics);
  }
  return elsewhere.is_string() ? Metrics::merged(metrics.text(), elsewhere.get<std::string>())
                               : metrics.text();
}

Json Registry::port_facts(const Port& port) const {
  Json all = Json::object();
  for (const auto& facts : port_facts_) {
    all.update(facts(port));
  }
  return all;
}

std::vector<Finding> Registry::find_all(bool slow) const {
  std::vector<Finding> all;
  std::map<Pace, Since> since;
  const auto now = std::chrono::system_clock::now();
  for (const auto& [find, pace] : findings_) {
    if (pace == Pace::slow && !slow) {
      continue;
    }
    for (auto& finding : find()) {
      const auto key = without_figures(finding.subject + ": " + finding.message);
      const auto known = since_[pace].find(key);
      const auto first = known == since_[pace].end() ? now : known->second;
      since[pace].emplace(key, first);
      if (finding.since == decltype(finding.since)()) {
        finding.since = first;
      }
      all.push_back(std::move(finding));
    }
  }
  since_[Pace::quick] = std::move(since[Pace::quick]);
  if (slow) {
    since_[Pace::slow] = std::move(since[Pace::slow]);
  }
  return all;
}

void Registry::keep_findings() {
  for (const auto& look : watches_) {
    look();
  }
  constexpr std::chrono::seconds kEvery{30};
  const auto now = std::chrono::steady_clock::now();
  if (now - kept_ >= kEvery) {
    kept_ = now;
    (void)find_all(false);
  }
}

Json Registry::findings(const Json& elsewhere) const {
  Json all = elsewhere.is_array() ? elsewhere : Json::array();
  for (const auto& finding : find_all(true)) {
    auto& row = all.emplace_back(Json{{"severity", name_of(finding.severity)},
                                      {"subject", finding.subject},
                                      {"message", finding.message},
                                      {"advice", finding.advice}});
    if (finding.severity > Finding::Severity::note) {
      row["since"] = seconds_of(finding.since);
    }
  }
  return all;
}

std::string Registry::problems(const Json& elsewhere) const {
  return problems_for(View::problems, elsewhere);
}

std::string Registry::unready(const Json& elsewhere) const {
  return problems_for(View::unready, elsewhere);
}

std::string Registry::problems_for(View view, const Json& elsewhere) const {
  auto all = elsewhere.is_string() ? elsewhere.get<std::string>() : std::string();
  if (elsewhere_ && !elsewhere.is_string()) {
    all += "supervisor: it does not answer\n";
  }
  for (const auto& health : health_) {
    if (view == View::unready && health.guests == Guests::served) {
      continue;
    }
    if (const auto text = health.problem(); !text.empty()) {
      all += health.name + ": " + text + "\n";
    }
  }
  for (const auto& notes : notes_) {
    for (const auto& note : notes()) {
      all += std::string(kNote) + note + "\n";
    }
  }
  return all;
}

boost::asio::awaitable<std::optional<Response>> Registry::look(std::string path) const {
  const auto text = [](std::string body, unsigned status, const char* type) {
    Response response;
    response.status = status;
    response.content_type = type;
    response.body = Body(std::move(body));
    return response;
  };
  if (path == "/v1/status") {
    const Json its = co_await elsewhere(View::status);
    co_return json_response(status(its));
  }
  if (path == "/v1/doctor") {
    const Json its = co_await elsewhere(View::findings);
    co_return json_response(findings(its));
  }
  if (path == "/metrics") {
    const Json its = co_await elsewhere(View::metrics);
    co_return text(metrics(its), 200, "text/plain; version=0.0.4; charset=utf-8");
  }
  if (path == "/healthz" || path == "/readyz") {
    const auto view = path == "/healthz" ? View::problems : View::unready;
    const Json its = co_await elsewhere(view);
    const auto wrong = problems_for(view, its);
    const bool well = is_healthy(wrong);
    co_return text(well ? "ok\n" + wrong : wrong, well ? 200 : 503, "text/plain; charset=utf-8");
  }
  co_return std::nullopt;
}

boost::asio::awaitable<Response> Registry::run(Call call) const {
  if (call.method == "GET") {
    if (auto seen = co_await look(call.path)) {
      co_return *std::move(seen);
    }
  }
  co_return co_await act(std::move(call));
}

boost::asio::awaitable<Response> Registry::act(Call call) const {
  const auto segments = split(call.path);
  std::string allowed;
  for (const auto& route : routes_) {
    const bool fits = std::ranges::equal(
        route.segments, segments, [](const std::string& pattern, const std::string& segment) {
          return pattern == "{}" ? !segment.empty() : pattern == segment;
        });
    if (!fits) {
      continue;
    }
    if (route.method != call.method) {
      allowed += (allowed.empty() ? "" : ", ") + route.method;
      continue;
    }
    for (std::size_t at = 0; at < segments.size(); ++at) {
      if (route.segments[at] == "{}") {
        auto part = percent_decoded(segments[at]);
        if (!part) {
          co_return error_response({ErrorCode::invalid, "the path is not percent-encoded"});
        }
        call.parts.push_back(*std::move(part));
      }
    }
    co_return co_await route.action(std::move(call));
  }
  if (allowed.empty()) {
    co_return json_response(
        {{"error", {{"code", kUnknownCall}, {"message", "there is no " + call.path}}}}, 404);
  }
  auto response = error_response({ErrorCode::invalid, call.path + " takes " + allowed});
  response.status = 405;
  response.headers.emplace_back("Allow", allowed);
  co_return response;
}

Response json_response(const Json& json, unsigned status) {
  Response response;
  response.status = status;
  response.content_type = "application/json";
  response.body = Body(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  return response;
}

Response error_response(const Error& error) {
  const auto [status, code] = describe(error.code);
  return json_response({{"error", {{"code", code}, {"message", error.message}}}}, status);
}

}  // namespace metatap::admin
