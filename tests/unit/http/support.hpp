// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "http/coroutine.hpp"
#include "metatap/exchange.hpp"
#include "metatap/unique_fd.hpp"
#include "unit/waiting.hpp"

namespace metatap::testing {

using namespace std::chrono_literals;

/// A Handler made of a function; a slow one answers later.
class FunctionHandler : public Handler {
 public:
  using Function = std::function<Response(const Request&)>;
  explicit FunctionHandler(Function function, bool slow = false)
      : function_(std::move(function)), slow_(slow) {}

 private:
  std::optional<Response> handle(const Request& request, boost::asio::io_context& here,
                                 Continuation& then) override {
    if (!slow_) {
      return function_(request);
    }
    http::answer_from(later(request), here, then);
    return std::nullopt;
  }
  boost::asio::awaitable<Response> later(const Request& request) { co_return function_(request); }

  Function function_;
  bool slow_;
};

inline Response text_response(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.content_type = "text/plain";
  response.body = Body(std::move(body));
  return response;
}

/// A blocking client socket that never waits longer than its timeout.
class Client {
 public:
  explicit Client(UniqueFd fd) : fd_(std::move(fd)) {}

  static Client tcp(std::uint16_t port) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ADD_FAILURE() << "connect to port " << port << ": " << std::strerror(errno);
    }
    return Client(std::move(fd));
  }
  static Client local(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ADD_FAILURE() << "connect to " << path << ": " << std::strerror(errno);
    }
    return Client(std::move(fd));
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) {
        return false;
      }
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  void finish() { ::shutdown(fd_.get(), SHUT_WR); }

  /// Reads until the end of the connection (`ended`, `was_reset` say which) or the timeout.
  std::string read_all(std::chrono::milliseconds timeout = 3s) {
    return read_until([](const std::string&) { return false; }, timeout);
  }
  /// Reads one response by its Content-Length.
  std::string read_response(std::chrono::milliseconds timeout = 3s) {
    auto text = read_until(
        [](const std::string& so_far) {
          const auto head = so_far.find("\r\n\r\n");
          if (head == std::string::npos) {
            return false;
          }
          const auto length = so_far.find("Content-Length: ");
          const std::size_t size =
              length < head ? std::stoul(so_far.substr(length + 16)) : std::size_t{0};
          return so_far.size() >= head + 4 + size;
        },
        timeout);
    // What belongs to the next response stays for the next call.
    const auto head = text.find("\r\n\r\n");
    if (head != std::string::npos) {
      const auto length = text.find("Content-Length: ");
      const std::size_t size = length < head ? std::stoul(text.substr(length + 16)) : 0;
      rest_ = text.substr(std::min(text.size(), head + 4 + size));
      text.resize(text.size() - rest_.size());
    }
    return text;
  }
  /// One byte, then no more for `pause`.
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool was_reset() const { return reset_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  template <class Done>
  std::string read_until(Done done, std::chrono::milliseconds timeout) {
    std::string text = std::exchange(rest_, {});
    const auto end = std::chrono::steady_clock::now() + timeout;
    while (!done(text)) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      pollfd wait{fd_.get(), POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) {
        break;
      }
      char buffer[16 * 1024];
      const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) {
        ended_ = true;
        reset_ = got < 0 && errno == ECONNRESET;
        break;
      }
      text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }

  UniqueFd fd_;
  std::string rest_;
  bool ended_ = false, reset_ = false;
};

inline std::string body_of(const std::string& response) {
  const auto head = response.find("\r\n\r\n");
  return head == std::string::npos ? "" : response.substr(head + 4);
}
inline unsigned status_of(const std::string& response) {
  return response.size() < 12 ? 0 : static_cast<unsigned>(std::stoul("0" + response.substr(9, 3)));
}

/// A directory of its own, gone afterwards.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mtXXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Whether `condition` becomes true within the time.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds timeout = 3s) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

}  // namespace metatap::testing
