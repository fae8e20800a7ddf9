// SPDX-License-Identifier: Apache-2.0
#include "admin/client.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "admin/registry.hpp"
#include "http/upstream.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::admin {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::minutes kForChanges{10};
/// For how long a socket may have nobody behind it: the worker that listened has died, and the
/// supervisor starts another.
constexpr std::chrono::seconds kForAnotherWorker{2};

/// errno of an attempt to connect; 0: somebody listens.
int try_to_connect(const sockaddr_un& address) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return 0;
  }
  // EAGAIN of a socket we have: so many wait before us that there is no room to wait.
  return fd && errno == EAGAIN ? 0 : errno;
}

/// Whether somebody listens; says why not better than an HTTP status could.
Status reachable(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::invalid, "--socket: the path is too long: " + socket);
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const auto until = std::chrono::steady_clock::now() + kForAnotherWorker;
  int error = try_to_connect(address);
  while (error == ECONNREFUSED && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    error = try_to_connect(address);
  }
  if (error != 0) {
    if (error == EACCES || error == EPERM) {
      return fail(ErrorCode::denied, "connect to " + socket + ": " +
                                         std::generic_category().message(error) +
                                         " (its owner may, mostly root)");
    }
    return fail(ErrorCode::unavailable, "connect to " + socket + ": " +
                                            std::generic_category().message(error) +
                                            " (is metatapd running, and is this its socket?)");
  }
  return {};
}

/// Where there is a socket and no answer; empty: there was one.
std::string no_answer(const UpstreamCounts<>& counted, const std::string& socket,
                      std::chrono::milliseconds patience) {
  if (counted.timeouts != 0) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience).count();
    return "metatapd at " + socket + " has not answered within " + std::to_string(seconds) +
           " s (does it hang? its log, and systemctl status metatapd)";
  }
  if (counted.invalid != 0) {
    return "the answer from " + socket + " is broken: it is no metatapd's, or not a whole one";
  }
  return counted.unavailable == 0
             ? ""
             : "metatapd at " + socket + " takes no question: it hangs, or has ended meanwhile";
}

std::string version_in(const Response& response) {
  for (const auto& [name, value] : response.headers) {
    if (name == "Server") {
      return value;
    }
  }
  return "an older one";
}

Error error_in(const Response& response) {
  const auto json = nlohmann::json::parse(response.body.str(), nullptr, false);
  ErrorCode code = ErrorCode::internal;
  switch (response.status) {
    case 400:
    case 403:  // not of us, but of what we want
    case 413:
      code = ErrorCode::invalid;
      break;
    case 404:
      code = ErrorCode::not_found;
      break;
    case 409:
      code = ErrorCode::conflict;
      break;
    case 503:
      code = ErrorCode::unavailable;
      break;
    case 504:
      code = ErrorCode::timeout;
      break;
    default:
      break;
  }
  if (!json.is_object() || !json.contains("error") || !json["error"].is_object()) {
    return {code, "metatapd answered " + std::to_string(response.status)};
  }
  const auto message = json["error"].value("message", "");
  // Older ones have another code for it.
  if (response.status == 405 || json["error"].value("code", "") == kUnknownCall ||
      (response.status == 404 && message.starts_with("there is no /v1/"))) {
    return {ErrorCode::unsupported, "metatapd is of another version, " + version_in(response) +
                                        ", and does not know what it was asked: " + message};
  }
  return {code, message};
}

struct Waiting final : Continuation {
  void answered(Response&& result) noexcept override { response = std::move(result); }
  std::optional<Response> response;
};

}  // namespace

Result<std::string> AdminClient::call(std::string_view method, std::string_view target,
                                      std::string_view body) const {
  if (auto status = reachable(socket_); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  http::UpstreamOptions options;
  options.endpoint = http::UnixEndpoint{socket_};
  options.deadline = method == "GET" ? patience_ : kForChanges;
  options.connect = options.deadline;
  options.keep_alive = false;
  options.pass_headers = {"Server"};
  options.max_response = std::size_t{2} << 30U;
  const auto deadline = options.deadline;
  auto upstream = http::Upstream::create(std::move(options));
  if (!upstream) {
    return tl::make_unexpected(std::move(upstream.error()));
  }
  const std::array headers{Header{"Host", "metatap"}, Header{"Accept", "application/json"}};
  const Peer ourselves{.in_process = true, .address = {}};
  Request request;
  request.method = method;
  request.target = target;
  request.headers = headers;
  request.body = body;
  request.peer = &ourselves;
  Waiting waiting;
  asio::io_context context;
  auto answer = (*upstream)->ask(request, context, waiting);
  // Until the answer is there: the client's own timers would keep run() busy for longer.
  while (!answer && !waiting.response && context.run_one() > 0) {
  }
  const Response response = std::move(answer ? answer : waiting.response).value();
  if (auto none = no_answer((*upstream)->counters(), socket_, deadline); !none.empty()) {
    return fail(ErrorCode::unavailable, std::move(none));
  }
  if (response.status / 100 != 2) {
    return tl::make_unexpected(error_in(response));
  }
  return response.body.str();
}

}  // namespace metatap::admin
