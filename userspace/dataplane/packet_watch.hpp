// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/alias.hpp"
#include "dataplane/core.hpp"
#include "dataplane/packet_events.hpp"
#include "dataplane/refusals.hpp"
#include "dataplane/sightings.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// One packet, as whoever looks on is told of it.
struct PacketSeen {
  std::chrono::system_clock::time_point when;
  std::string port_id, device;  ///< empty: nobody's
  std::uint32_t reason = 0;     ///< enum mt_reason
  std::uint32_t length = 0;     ///< bytes, with the Ethernet header
  std::string source;           ///< the guest's own address, not its alias
};

/// What the programs tell of packets. Always a sample of the drops: who claims to be another; and,
/// for the log, whose packets are refused. While somebody looks on, each packet of a slot; that is
/// switched on in mt_config for as long as he does, and costs nothing otherwise. Control thread.
class PacketWatch {
 public:
  /// `lost`: so many more there were since the last call, which nobody had room for.
  using Tell = std::function<void(std::vector<PacketSeen> seen, std::uint64_t lost)>;

  PacketWatch(std::shared_ptr<Core> core, boost::asio::io_context& control, Tell tell);
  ~PacketWatch();
  PacketWatch(const PacketWatch&) = delete;
  PacketWatch& operator=(const PacketWatch&) = delete;

  Status start();
  /// Somebody looks on for so long, a minute at most.
  void look_on(std::chrono::milliseconds time);
  [[nodiscard]] const Sightings& sightings() const { return sightings_; }

 private:
  using Clock = std::chrono::steady_clock;
  void wait();
  void read();
  void trace(bool on);
  void note(const mt_event& event, std::vector<PacketSeen>& seen);
  [[nodiscard]] Address behind(const Alias& alias, const Address& source) const;

  std::shared_ptr<Core> core_;
  boost::asio::steady_timer tick_;
  Tell tell_;
  std::optional<PacketEvents> events_;
  Sightings sightings_;
  RefusalLog refusals_;
  Clock::time_point told_;                  ///< of refusals, the last time
  std::optional<Clock::time_point> until_;  ///< somebody looks on
  std::uint64_t lost_ = 0;                  ///< as of the last look
};

}  // namespace metatap::dataplane
