// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::api {

/// A vendordata service that is asked for every instance: `name@url`.
struct DynamicTarget {
  std::string name, url;
};

/// The API stage's options, under Nova's names; the defaults are Nova's too, but for
/// service_metadata_proxy.
struct ApiOptions {
  // [DEFAULT]
  std::string metadata_listen = "0.0.0.0";
  std::uint16_t metadata_listen_port = 8775;

  // [neutron]
  /// true: requests are signed by an agent. false: "direct mode", the peer's address says who asks.
  /// Nova's default is false; ours is true, because direct mode cannot tell tenants apart.
  bool service_metadata_proxy = true;
  std::string metadata_proxy_shared_secret;  ///< also read from [DEFAULT], where the agent has it

  // [api]
  std::size_t max_connections = 4096;  ///< of the API where it runs alone
  std::string dhcp_domain = "novalocal";
  std::vector<std::string> vendordata_providers{"StaticJSON"};
  std::string vendordata_jsonfile_path;
  std::vector<DynamicTarget> vendordata_dynamic_targets;
  std::string vendordata_dynamic_ssl_certfile;
  std::chrono::seconds vendordata_dynamic_connect_timeout{5};
  std::chrono::seconds vendordata_dynamic_read_timeout{5};
  bool vendordata_dynamic_failure_fatal = false;
  /// EC2 versions left out of a config drive.
  std::vector<std::string> config_drive_skip_versions{"1.0",        "2007-01-19", "2007-03-01",
                                                      "2007-08-29", "2007-10-10", "2007-12-15",
                                                      "2008-02-01", "2008-09-01"};
  /// Ours: the newest OpenStack version there is, so that an older Nova is matched exactly.
  std::string newest_openstack_version = "2025-04-04";
  /// Ours: how long a dynamic target's answer serves one instance. Long enough for all requests of
  /// one boot to see one answer, short enough for the next boot to ask again. 0: asked every time.
  std::chrono::seconds vendordata_dynamic_cache_time{60};
  /// Read and ignored: Nova keeps an instance for so long without looking; here a change is served
  /// as soon as it is committed.
  std::chrono::seconds metadata_cache_expiration{15};

  /// Today in UTC. Versions dated later are not listed.
  std::function<std::chrono::sys_days()> today = [] {
    return std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  };

  [[nodiscard]] bool static_vendordata() const;
  [[nodiscard]] bool dynamic_vendordata() const;
  /// How many of kOpenstackVersions exist here.
  [[nodiscard]] std::size_t openstack_versions() const;

  /// ErrorCode::invalid, naming the option and its place.
  static Result<ApiOptions> from(const Config& config);
};

}  // namespace metatap::api
