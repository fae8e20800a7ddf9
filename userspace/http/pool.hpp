// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "http/connection.hpp"
#include "http/count.hpp"
#include "metatap/counters.hpp"

namespace metatap::http {

/// What an upstream counts on one worker.
struct alignas(64) WorkerCounts : UpstreamCounts<Count> {};

/// The resting connections to one upstream on one worker, the latest used last, and memory for
/// requests to it. They go when their context ends.
class Pool {
 public:
  /// That of the upstream with this number; made when it is first asked for.
  static Pool& of(boost::asio::io_context& context, std::uint64_t upstream);

  /// One that can be used, or null.
  [[nodiscard]] ConnectionPtr take();
  /// Keeps it if it can be used again and fewer than `most` rest.
  void give(ConnectionPtr connection, std::size_t most, std::chrono::milliseconds longest);
  void close();

  /// Empty, with memory from an earlier request if there is any.
  [[nodiscard]] std::string take_buffer();
  void give_buffer(std::string buffer);

  [[nodiscard]] const std::shared_ptr<WorkerCounts>& counts() const { return counts_; }

 private:
  std::vector<ConnectionPtr> resting_;
  std::vector<std::string> buffers_;
  std::shared_ptr<WorkerCounts> counts_ = std::make_shared<WorkerCounts>();
  bool closed_ = false;
};

}  // namespace metatap::http
