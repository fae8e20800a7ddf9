// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

/// The seam behind the agent: who owns this port or address?
namespace metatap {

struct Identity {
  std::string instance_id;  ///< the port's device_id
  std::string project_id;
  bool operator==(const Identity&) const = default;
};

/// Either a port, or an address within exactly one of network and router.
struct DirectoryQuery {
  std::string_view port_id;
  std::string_view network_id, router_id;
  /// As X-Forwarded-For carried it: v4, v6 or IPv4-mapped. Link-local v6 is looked up by the MAC
  /// in its interface id.
  std::string_view address;
};

/// The owners of ports by which Neutron's agent finds the networks of a router.
inline constexpr std::array<std::string_view, 3> kRouterInterfaceOwners{
    "network:router_interface", "network:ha_router_replicated_interface",
    "network:router_interface_distributed"};

enum class Freshness : bool {
  cached,  ///< an answer within its time to live will do
  asked,   ///< ask the source itself: the API did not know the cached one
};

/// Thread-safe. A lookup is never widened: an unknown router, no port or several ports are all
/// ErrorCode::not_found; a source that cannot be asked is ErrorCode::unavailable.
class Directory {
 public:
  virtual ~Directory() = default;
  /// From memory, without waiting. ErrorCode::unavailable when only find() can tell.
  [[nodiscard]] virtual Result<Identity> known(const DirectoryQuery& query) const = 0;
  [[nodiscard]] virtual boost::asio::awaitable<Result<Identity>> find(const DirectoryQuery& query,
                                                                      Freshness freshness) = 0;
  /// True when known() is the source itself and always decides, so that asking again is pointless.
  [[nodiscard]] virtual bool current() const { return false; }
};

}  // namespace metatap
