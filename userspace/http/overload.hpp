// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/config.hpp"
#include "base/log_limit.hpp"
#include "http/count.hpp"
#include "http/memory_budget.hpp"
#include "metatap/counters.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

/// What the process may hold at once for all who ask it.
struct OverloadLimits {
  std::size_t connections = 16'384;              ///< [DEFAULT] max_connections
  std::size_t requests = 4'096;                  ///< [DEFAULT] max_requests_in_flight
  std::size_t memory = std::size_t{256} << 20U;  ///< [DEFAULT] max_memory, there in MiB

  static Result<OverloadLimits> from(const Config& config);
  /// These, or as much of them as so many descriptors allow: a quarter (at most 16 384) is left to
  /// listeners, BPF, files, databases and the operator, and a request in flight may take one for
  /// its way to the next process. The log says so where it is less.
  [[nodiscard]] OverloadLimits within(std::size_t descriptors) const;
};

/// The budget of a process, and what is done as it fills up (Envoy's overload manager is the
/// model). Each worker has a fixed share of connections and requests, so that deciding touches
/// nothing that others write; only memory is one for all.
///
/// | of its share | connections                | requests in flight | memory                |
/// |--------------|----------------------------|--------------------|-----------------------|
/// | 80 %         | keep-alive ends            | keep-alive ends    | keep-alive ends       |
/// | 95 %         |                            |                    | requests get 503      |
/// | 100 %        | resting go, new ones wait  | requests get 503   | what would grow, too; |
/// |              |                            |                    | new connections wait  |
///
/// The operator's own connections are not counted.
class Overload {
 public:
  explicit Overload(OverloadLimits limits)
      : limits_(limits), memory_(std::make_shared<MemoryBudget>(limits.memory)) {}

  struct Usage : OverloadCounts<>, MemoryCounts<> {};
  /// Any thread, while the contexts are there.
  [[nodiscard]] Usage usage() const;
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] const OverloadLimits& limits() const { return limits_; }
  [[nodiscard]] const std::shared_ptr<MemoryBudget>& memory() const { return memory_; }

 private:
  friend class OverloadShare;
  const OverloadLimits limits_;
  const std::shared_ptr<MemoryBudget> memory_;
  /// All of them are there before the first thread runs.
  std::vector<const class OverloadShare*> shares_;
  log::Limit complaints_;
};

/// One worker's part of it: a service of its context, used on its thread only, but for its counts.
class OverloadShare : public boost::asio::execution_context::service {
 public:
  using key_type = OverloadShare;
  static boost::asio::execution_context::id id;

  /// A context that belongs to no process's budget has one of its own.
  explicit OverloadShare(boost::asio::execution_context& context);
  /// One of `parts` equal ones.
  OverloadShare(boost::asio::execution_context& context, std::shared_ptr<Overload> overload,
                std::size_t parts);
  static OverloadShare& of(boost::asio::execution_context& context) {
    return boost::asio::use_service<OverloadShare>(context);
  }

  /// So many more connections.
  [[nodiscard]] std::size_t room() const;
  [[nodiscard]] bool may_ask() const;
  [[nodiscard]] bool may_keep_alive() const;
  [[nodiscard]] const std::shared_ptr<MemoryBudget>& memory() const { return overload_->memory_; }

  // What happened because of it.
  void accept_put_off();
  void request_refused();
  void keep_alive_ended() { ++counts.keep_alive_ended; }

  OverloadCounts<Count> counts;

 private:
  friend class Overload;
  void shutdown() override {}
  void complain(std::string_view consequence);

  const std::shared_ptr<Overload> overload_;
  const std::size_t connections_share_, requests_share_;
  const std::size_t many_connections_, many_requests_, much_memory_, too_much_memory_;
};

}  // namespace metatap::http
