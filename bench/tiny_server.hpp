// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

/// The least an HTTP server can do: epoll, one read, one write, a constant answer. It stands
/// behind every proxy that is measured, and on its own it is the limit nobody can pass.
namespace metatap::bench {

class TinyServer {
 public:
  /// `listeners`: one descriptor per thread, or a single one that all threads share.
  TinyServer(std::vector<int> listeners, const std::string& body, const std::string& content_type)
      : listeners_(std::move(listeners)) {
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Type: " + content_type +
                             "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    keep_ = head + "\r\n" + body;
    close_ = head + "Connection: close\r\n\r\n" + body;
  }

  /// Serves until the process gets SIGTERM or SIGINT; returns the number of requests answered.
  std::uint64_t run(unsigned threads) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < threads; ++i) {
      std::thread([this, fd = listeners_[i % listeners_.size()]] { serve(fd); }).detach();
    }
    int signal_number = 0;
    sigwait(&signals, &signal_number);
    return answered_;
  }

 private:
  static bool asks_close(std::string_view head) {
    constexpr std::string_view kName = "\nconnection:";
    for (std::size_t at = 0; (at = head.find('\n', at)) != std::string_view::npos; ++at) {
      if (head.size() - at < kName.size() + 5) {
        return false;
      }
      std::size_t i = 0;
      while (i < kName.size() &&
             std::tolower(static_cast<unsigned char>(head[at + i])) == kName[i]) {
        ++i;
      }
      if (i == kName.size()) {
        while (head[at + i] == ' ') {
          ++i;
        }
        return (head[at + i] | 0x20) == 'c';
      }
    }
    return false;
  }

  void serve(int listener) {
    const int poll = epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN | (listeners_.size() == 1 ? EPOLLEXCLUSIVE : 0U);
    event.data.fd = listener;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    std::array<epoll_event, 256> ready;
    std::array<char, 16384> buffer;
    std::unordered_map<int, std::string> partial;  // heads that came in pieces: rare
    for (;;) {
      const int count = epoll_wait(poll, ready.data(), static_cast<int>(ready.size()), -1);
      for (int i = 0; i < count; ++i) {
        const int fd = ready[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener) {
          const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
          if (client >= 0) {
            event.events = EPOLLIN;
            event.data.fd = client;
            epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
          }
          continue;
        }
        const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
          continue;
        }
        if (got <= 0) {
          partial.erase(fd);
          close(fd);
          continue;
        }
        std::string_view head(buffer.data(), static_cast<std::size_t>(got));
        std::string joined;
        if (const auto found = partial.find(fd); found != partial.end()) {
          joined = std::move(found->second);
          partial.erase(found);
          joined.append(head);
          head = joined;
        }
        if (!answer(fd, head)) {
          close(fd);
        } else if (!head.empty()) {
          partial.emplace(fd, head);
        }
      }
    }
  }

  /// Answers every whole request in `input` and leaves the rest in it; false: close.
  bool answer(int fd, std::string_view& input) {
    for (std::size_t end = 0; (end = input.find("\r\n\r\n")) != std::string_view::npos;) {
      const bool last = asks_close(input.substr(0, end + 2));
      const std::string& response = last ? close_ : keep_;
      if (send(fd, response.data(), response.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(response.size())) {
        return false;
      }
      answered_.fetch_add(1, std::memory_order_relaxed);
      if (last) {
        return false;
      }
      input.remove_prefix(end + 4);
    }
    return true;
  }

  std::vector<int> listeners_;
  std::string keep_, close_;
  std::atomic<std::uint64_t> answered_{0};
};

inline std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw std::runtime_error(std::string("cannot read ") + path);
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace metatap::bench
