// SPDX-License-Identifier: Apache-2.0
#include "admin/trace_command.hpp"

#include <fmt/format.h>

#include <ctime>

#include "admin/table.hpp"
#include "base/text.hpp"

namespace metatap::admin {
namespace {

using Json = Terminal::Json;

/// "4xx" fits 404.
bool fits(const std::string& status, const std::string& wanted) {
  if (wanted.size() == 3 && wanted.ends_with("xx")) {
    return status.size() == 3 && status.front() == wanted.front();
  }
  return status == wanted;
}

/// "12:00:01.123456", of the machine's own zone.
std::string time_of_day(std::int64_t microseconds) {
  constexpr std::int64_t kSecond = 1'000'000;
  const std::time_t seconds = microseconds / kSecond;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}.{:06}", local.tm_hour, local.tm_min, local.tm_sec,
                     microseconds % kSecond);
}

}  // namespace

bool TraceFilter::shows(const Json& line) const {
  const bool packet = line.value("kind", "") == "packet";
  if (!port.empty() && line.value("port", "") != port) {
    return false;
  }
  if (packet) {
    return status.empty() && path.empty() &&
           (verdict.empty() || line.value("outcome", "") == verdict);
  }
  return verdict.empty() &&
         (status.empty() || fits(std::to_string(line.value("status", 0)), status)) &&
         (path.empty() || line.value("path", "").find(path) != std::string::npos);
}

std::string trace_text(const Json& line) {
  const auto text = [&](const char* key) { return cell_of(line.value(key, "")); };
  const auto begin = time_of_day(line.value("time", std::int64_t{0}));
  const auto port = text("port").empty() ? std::string("nobody's") : text("port");
  if (line.value("kind", "") == "packet") {
    return fmt::format("{} packet  {:5} {:16} {} {} {} B {}\n", begin, text("outcome"),
                       text("reason"), port, text("source"), line.value("length", 0),
                       text("device"));
  }
  const auto asked = line.contains("path") ? text("method") + " " + text("path") : "<BADREQ>";
  auto all =
      fmt::format("{} request {:5} {} {} {} {} B, {} us", begin, line.value("status", 0), port,
                  text("source"), asked, line.value("bytes", 0), line.value("total_us", 0));
  if (line.contains("reason")) {
    all += ": by the proxy itself, " + text("reason");
  }
  if (line.contains("api_us")) {
    all +=
        fmt::format(": agent {} us, api {} us", line.value("agent_us", 0), line.value("api_us", 0));
  }
  return all + "\n";
}

Result<std::string> id_of_port(const Terminal& terminal, const std::string& wanted) {
  const auto port = terminal.call("GET", "/v1/ports/" + percent_encoded(wanted));
  if (!port) {
    return tl::make_unexpected(port.error());
  }
  return port->value("port", Json::object()).value("id", "");
}

Exit trace(const Terminal& terminal, const std::string& wanted, TraceFilter filter,
           std::uint64_t most) {
  if (!wanted.empty()) {
    auto id = id_of_port(terminal, wanted);
    if (!id) {
      return terminal.failed(id.error());
    }
    filter.port = *std::move(id);
  }
  std::string target = "/v1/trace";
  std::uint64_t shown = 0;
  while (!told_to_end()) {
    const auto chunk = terminal.call("GET", target);
    if (!chunk) {
      return terminal.failed(chunk.error());
    }
    target = "/v1/trace?after=" + std::to_string(chunk->value("next", std::uint64_t{0}));
    if (const auto lost = chunk->value("lost", std::uint64_t{0}); lost != 0) {
      terminal.complain(std::to_string(lost) + " lines came too fast and are lost");
    }
    for (const auto& line : chunk->value("lines", Json::array())) {
      if (!filter.shows(line)) {
        continue;
      }
      if (!terminal.write(terminal.json
                              ? line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                              : trace_text(line))) {
        return Exit::nobody_reads;
      }
      if (++shown == most) {
        return Exit::done;
      }
    }
  }
  return Exit::done;
}

}  // namespace metatap::admin
