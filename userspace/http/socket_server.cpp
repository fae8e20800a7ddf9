// SPDX-License-Identifier: Apache-2.0
#include "http/socket_server.hpp"

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "http/shard.hpp"

namespace metatap::http {

SocketServer::SocketServer(Workers& workers, Limits limits) : workers_(workers), limits_(limits) {
  for (unsigned i = 0; i < workers_.size(); ++i) {
    shards_.push_back(std::make_shared<Shard>(workers_.at(i), i, workers_.size(), limits_));
  }
  for (const auto& shard : shards_) {
    shard->know(shards_);
  }
}

SocketServer::~SocketServer() {
  stop({});
}

void SocketServer::open(unsigned worker, UniqueFd listener, std::string name,
                        std::shared_ptr<Acceptor> acceptor, Share share) {
  const unsigned index = worker % workers_.size();
  workers_.run_on(index, [&] {
    shards_[index]->open(std::move(listener), std::move(name), std::move(acceptor), share);
  });
}

bool SocketServer::close(std::string_view name) {
  std::vector<const Listener*> closed;
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(
        i, [&] { std::ranges::copy(shards_[i]->close(name), std::back_inserter(closed)); });
  }
  // A connection that was being passed on has arrived by now, or finds its listener closed.
  for (unsigned i = 0; i < shards_.size() && !closed.empty(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->abort_from(closed); });
  }
  return !closed.empty();
}

void SocketServer::drain() {
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->drain(); });
  }
}

unsigned SocketServer::open_connections() const {
  unsigned sum = 0;
  for (const auto& shard : shards_) {
    sum += shard->load.load(std::memory_order_relaxed);
  }
  return sum;
}

void SocketServer::stop(std::chrono::milliseconds longest) {
  drain();
  const auto end = std::chrono::steady_clock::now() + longest;
  while (open_connections() != 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->abort_all(); });
  }
}

ServerCounts<> SocketServer::counters() const {
  ServerCounts<> sum;
  for (const auto& shard : shards_) {
    sum += shard->count;
  }
  return sum;
}

}  // namespace metatap::http
