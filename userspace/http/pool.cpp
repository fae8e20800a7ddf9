// SPDX-License-Identifier: Apache-2.0
#include "http/pool.hpp"

#include <algorithm>
#include <boost/asio/execution_context.hpp>
#include <iterator>
#include <unordered_map>
#include <utility>

namespace metatap::http {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kLargestBuffer = 16 * 1024;
constexpr std::size_t kMostBuffers = 64;

/// The pools of one context. What waits in it may still give something back while it shuts down,
/// so they are closed then and go with it.
class Pools : public asio::execution_context::service {
 public:
  using key_type = Pools;
  static asio::execution_context::id id;
  explicit Pools(asio::execution_context& context) : service(context) {}

  std::unordered_map<std::uint64_t, Pool> by_upstream;

 private:
  void shutdown() override {
    for (auto& [number, pool] : by_upstream) {
      pool.close();
    }
  }
};
asio::execution_context::id Pools::id;

}  // namespace

Pool& Pool::of(asio::io_context& context, std::uint64_t upstream) {
  return asio::use_service<Pools>(context).by_upstream[upstream];
}

ConnectionPtr Pool::take() {
  while (!resting_.empty()) {
    // The latest that is known to be silent; the very latest may have to be asked for.
    auto chosen = std::find_if(resting_.rbegin(), resting_.rend(),
                               [](const auto& one) { return one->known_silent(); });
    if (chosen == resting_.rend()) {
      chosen = resting_.rbegin();
    }
    auto connection = std::move(*chosen);
    resting_.erase(std::next(chosen).base());
    if (connection->wake()) {
      return connection;
    }
  }
  return nullptr;
}

void Pool::give(ConnectionPtr connection, std::size_t most, std::chrono::milliseconds longest) {
  std::erase_if(resting_, [](const auto& old) { return !old->resting(); });
  if (!closed_ && resting_.size() < most && connection->rest(longest)) {
    resting_.push_back(std::move(connection));
  }
}

void Pool::close() {
  closed_ = true;
  resting_.clear();
}

std::string Pool::take_buffer() {
  if (buffers_.empty()) {
    return {};
  }
  auto buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void Pool::give_buffer(std::string buffer) {
  if (buffer.capacity() <= kLargestBuffer && buffers_.size() < kMostBuffers) {
    buffer.clear();
    buffers_.push_back(std::move(buffer));
  }
}

}  // namespace metatap::http
