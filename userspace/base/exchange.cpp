// SPDX-License-Identifier: Apache-2.0
#include "metatap/exchange.hpp"

#include <algorithm>

#include "base/ascii.hpp"
#include "base/log_limit.hpp"

namespace metatap {

std::optional<std::string_view> Request::header(std::string_view name) const {
  const auto found =
      std::ranges::find_if(headers, [&](const Header& h) { return iequals(h.name, name); });
  if (found == headers.end()) {
    return std::nullopt;
  }
  return found->value;
}

std::size_t Request::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(headers, [&](const Header& h) { return iequals(h.name, name); }));
}

namespace {

Response plain(unsigned status, std::string text) {
  Response response;
  response.status = status;
  response.content_type = "text/plain; charset=UTF-8";
  response.body = Body(std::move(text));
  return response;
}

}  // namespace

Response failed_response(const std::exception_ptr& error) noexcept {
  static log::Limit complaint;  // whoever finds the request that does it can repeat it
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    complaint.error("a stage threw: {}", known.what());
  } catch (...) {
    complaint.error("a stage threw what is no exception");
  }
  return plain(500, "500 Internal Server Error\n");
}

std::optional<Response> Handler::ask(const Request& request, boost::asio::io_context& here,
                                     Continuation& then) noexcept {
  try {
    return handle(request, here, then);
  } catch (...) {
    return failed_response(std::current_exception());
  }
}

Promise::~Promise() {
  if (then_ != nullptr) {
    auto response = plain(503, "503 Service Unavailable\n");
    response.headers.emplace_back("Retry-After", "1");
    keep(std::move(response));
  }
}

}  // namespace metatap
