// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "metatap/result.hpp"
#include "openstack/access.hpp"

namespace metatap::agent {

/// How to reach Neutron's REST API: group [neutron] as in nova.conf (keystoneauth's names), or,
/// where auth_url is not set there, group [keystone_authtoken] of a neutron.conf.
struct NeutronOptions : openstack::Access {
  std::string endpoint_override;  ///< needed where auth_type is none (Neutron's noauth)

  // [cache] expiration_time, negative_expiration_time; enabled = False makes both 0.
  std::chrono::milliseconds ttl{60'000}, negative_ttl{5'000};
  /// [agent] stale_if_error: how old an answer may be that is given while Neutron is down.
  std::chrono::milliseconds stale_if_error{std::chrono::hours(24)};
  /// Where answers are kept for a start while Neutron is down; empty: nowhere.
  std::filesystem::path memory;
  std::chrono::milliseconds first_back_off{1'000}, longest_back_off{30'000};

  static Result<NeutronOptions> from(const Config& config);
};

}  // namespace metatap::agent
