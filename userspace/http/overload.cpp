// SPDX-License-Identifier: Apache-2.0
#include "http/overload.hpp"

#include <algorithm>
#include <utility>

#include "base/option_reader.hpp"

namespace metatap::http {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20U;
constexpr std::size_t kMostDescriptorsKept = 16'384;

constexpr std::size_t percent(std::size_t part, std::size_t whole) {
  return whole / 100 * part + whole % 100 * part / 100;
}

std::size_t part_of(std::size_t limit, std::size_t parts) {
  return (limit + parts - 1) / parts;
}

}  // namespace

Result<OverloadLimits> OverloadLimits::from(const Config& config) {
  OverloadLimits limits;
  OptionReader read(config);
  read.integer({"DEFAULT", "max_connections", "Connections of all servers, but for the operator's"},
               limits.connections, 16, 10'000'000);
  read.integer({"DEFAULT", "max_requests_in_flight", "Beyond it a request gets 503", "requests"},
               limits.requests, 1, 10'000'000);
  std::size_t memory = limits.memory / kMebibyte;
  read.integer({"DEFAULT", "max_memory", "What peers may make the process hold", "MiB"}, memory, 1,
               1L << 20U);
  limits.memory = memory * kMebibyte;
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return limits;
}

OverloadLimits OverloadLimits::within(std::size_t descriptors) const {
  OverloadLimits fitting = *this;
  const std::size_t available = descriptors - std::min(descriptors / 4, kMostDescriptorsKept);
  fitting.requests = std::max<std::size_t>(1, std::min(requests, available / 4));
  fitting.connections = std::max<std::size_t>(1, std::min(connections, available - available / 4));
  if (fitting.connections < connections || fitting.requests < requests) {
    log::warn(
        "only {} descriptors may be open (RLIMIT_NOFILE): {} connections and {} requests in flight "
        "instead of {} and {}",
        descriptors, fitting.connections, fitting.requests, connections, requests);
  }
  return fitting;
}

std::size_t Overload::connections() const {
  std::size_t sum = 0;
  for (const OverloadShare* share : shares_) {
    sum += share->counts.connections;
  }
  return sum;
}

Overload::Usage Overload::usage() const {
  Usage usage{{}, memory_->counts()};
  for (const OverloadShare* share : shares_) {
    usage += share->counts;
  }
  return usage;
}

boost::asio::execution_context::id OverloadShare::id;

OverloadShare::OverloadShare(boost::asio::execution_context& context)
    : OverloadShare(context, std::make_shared<Overload>(OverloadLimits{}), 1) {}

OverloadShare::OverloadShare(boost::asio::execution_context& context,
                             std::shared_ptr<Overload> overload, std::size_t parts)
    : service(context),
      overload_(std::move(overload)),
      connections_share_(part_of(overload_->limits_.connections, parts)),
      requests_share_(part_of(overload_->limits_.requests, parts)),
      many_connections_(percent(80, connections_share_)),
      many_requests_(percent(80, requests_share_)),
      much_memory_(percent(80, overload_->limits_.memory)),
      too_much_memory_(percent(95, overload_->limits_.memory)) {
  overload_->shares_.push_back(this);
}

std::size_t OverloadShare::room() const {
  const std::size_t open = counts.connections;
  const MemoryBudget& memory = *overload_->memory_;
  return open >= connections_share_ || memory.used() >= memory.limit() ? 0
                                                                       : connections_share_ - open;
}

bool OverloadShare::may_ask() const {
  return counts.requests_in_flight < requests_share_ &&
         overload_->memory_->used() <= too_much_memory_;
}

bool OverloadShare::may_keep_alive() const {
  return counts.connections <= many_connections_ && counts.requests_in_flight <= many_requests_ &&
         overload_->memory_->used() <= much_memory_;
}

void OverloadShare::accept_put_off() {
  ++counts.accepts_put_off;
  complain("new connections wait");
}

void OverloadShare::request_refused() {
  ++counts.requests_refused;
  complain("a request got 503");
}

void OverloadShare::complain(std::string_view consequence) {
  const OverloadLimits& limits = overload_->limits_;
  overload_->complaints_.warn(
      "overload: {}: a worker has {} of {} connections and {} of {} requests in flight, all "
      "together {} of {} MiB",
      consequence, std::uint64_t{counts.connections}, connections_share_,
      std::uint64_t{counts.requests_in_flight}, requests_share_,
      overload_->memory_->used() / kMebibyte, limits.memory / kMebibyte);
}

}  // namespace metatap::http
