// SPDX-License-Identifier: Apache-2.0
#include "admin/trace_action.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <utility>

namespace metatap::admin {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kLookOn = 3000ms;    ///< of one who has asked once
constexpr auto kForALine = 1000ms;  ///< for a line to come
constexpr auto kStep = 40ms;

Result<std::uint64_t> number_in(const Call& call, std::uint64_t otherwise) {
  const auto found = call.query.find("after");
  if (found == call.query.end()) {
    return otherwise;
  }
  std::uint64_t number = 0;
  const auto& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::invalid, "after: expected a number");
  }
  return number;
}

asio::awaitable<Response> lines(asio::io_context& control, TraceLog& log, Call call) {
  const auto after = number_in(call, log.last());
  if (!after) {
    co_return error_response(after.error());
  }
  asio::steady_timer timer(control);
  auto chunk = log.since(*after);
  const auto until = TraceLog::Clock::now() + kForALine;
  while (chunk.lines.empty() && chunk.lost == 0 && TraceLog::Clock::now() < until &&
         call.query.contains("after")) {
    timer.expires_after(kStep);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
    chunk = log.since(*after);
  }
  co_return json_response(
      {{"next", chunk.next}, {"lost", chunk.lost}, {"lines", std::move(chunk.lines)}});
}

}  // namespace

void register_trace(Registry& registry, asio::io_context& control, TraceLog& log,
                    std::function<void(std::chrono::milliseconds)> look_on) {
  registry.add_action("GET", "/v1/trace",
                      [&control, &log, look_on = std::move(look_on)](Call call) {
                        log.look_on(TraceLog::Clock::now() + kLookOn);
                        if (look_on) {
                          look_on(kLookOn);
                        }
                        return lines(control, log, std::move(call));
                      });
}

}  // namespace metatap::admin
