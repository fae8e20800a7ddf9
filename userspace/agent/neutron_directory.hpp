// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "agent/neutron_options.hpp"
#include "metatap/counters.hpp"
#include "metatap/directory.hpp"

namespace metatap::agent {

/// Answers from Neutron's REST API, remembering what it said: found ports for `ttl`, absent ones
/// for `negative_ttl`. One question per key is in flight at a time; who asks the same waits for
/// its answer. Freshness::asked goes past what is remembered. Of the questions in flight each
/// network or router has its fair share (base/fair_share.hpp), however many addresses ask there.
///
/// When Neutron or Keystone cannot be asked, what is remembered is given up to `stale_if_error`
/// old; what is not is ErrorCode::unavailable at once, for a pause that grows from failure to
/// failure, so that an outage is not a storm.
///
/// An answer about a port is good for the device that the port had when it was asked for, and for
/// no other: who is plugged in later may be another guest. By that, answers also outlast a restart
/// of ours (PortMemory); those of an address have nothing to go by, and do not.
///
/// Thread-safe; questions run on the asker's executor.
class NeutronDirectory final : public Directory {
 public:
  struct Health : NeutronCounts<> {
    bool reachable = true;
    std::string last_error;  ///< why not
    std::chrono::seconds down_for{0};
    std::size_t remembered = 0;
    std::chrono::seconds oldest{0};  ///< age of the oldest answer that is remembered
  };

  /// Origin::plug of a port's present device; 0: it is not known here. Any thread.
  using PlugOf = std::function<std::uint64_t(const std::string& port_id)>;

  static Result<std::unique_ptr<NeutronDirectory>> create(const NeutronOptions& options,
                                                          PlugOf plug_of = nullptr);
  ~NeutronDirectory() override;

  [[nodiscard]] Result<Identity> known(const DirectoryQuery& query) const override;
  [[nodiscard]] boost::asio::awaitable<Result<Identity>> find(const DirectoryQuery& query,
                                                              Freshness freshness) override;
  [[nodiscard]] Health health() const;

 private:
  class Impl;
  explicit NeutronDirectory(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap::agent
