// SPDX-License-Identifier: Apache-2.0
#include "proxy/ask_again.hpp"

#include <algorithm>
#include <utility>

#include "base/boot_time.hpp"
#include "http/deadlines.hpp"

namespace metatap::proxy {
namespace {

/// All processes have read what there is by then, if its source is well.
constexpr std::int64_t kLately = 2'000;  // milliseconds
constexpr std::int64_t kPause = 100;

}  // namespace

std::unique_ptr<AskAgain> AskAgain::of(const Origin& origin, Handler& next, ChangeBoard& board) {
  const auto left = origin.came + kLately - boot_time();
  return left > 0 ? std::unique_ptr<AskAgain>(
                        new AskAgain(origin, next, board, http::Deadlines::now() + left))
                  : nullptr;
}

/// What is asked for twice must be the same as once.
std::optional<Response> AskAgain::handle(const Request& request, boost::asio::io_context& here,
                                         Continuation& then) {
  if (request.method != "GET") {
    return next_.ask(request, here, then);
  }
  request_ = &request;
  then_ = &then;
  auto response = next_.ask(request, here, *this);
  if (response && is_too_early(*response)) {
    wait(*std::move(response));
    return std::nullopt;
  }
  return response;
}

void AskAgain::answered(Response&& response) noexcept {
  if (is_too_early(response)) {
    wait(std::move(response));
  } else {
    last_ = std::move(response);
    finish();
  }
}

bool AskAgain::is_too_early(const Response& response) const {
  return response.status == 404 && !process_ends() && !origin_.revoked() &&
         http::Deadlines::now() < until_;
}

void AskAgain::wait(Response&& response) {
  last_ = std::move(response);
  join(origin_.port_id);
  look_at(std::min(until_, http::Deadlines::now() + kPause));
}

void AskAgain::look() noexcept {
  leave();
  if (!is_too_early(last_)) {
    finish();
  } else if (auto response = next_.ask(*request_, here_, *this)) {
    answered(*std::move(response));
  }
}

/// The session may go on to its next request at once, and we with it.
void AskAgain::finish() noexcept {
  leave();
  std::exchange(then_, nullptr)->answered(std::exchange(last_, {}));
}

}  // namespace metatap::proxy
