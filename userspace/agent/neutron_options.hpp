// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// How to reach Neutron's REST API: group [neutron] as in nova.conf (keystoneauth's names), or,
/// where auth_url is not set there, group [keystone_authtoken] of a neutron.conf.
struct NeutronOptions {
  std::string auth_url;
  /// From auth_type, or from application_credential_secret being set.
  bool application_credential = false;
  /// auth_type = none: Neutron's auth_strategy is noauth. It takes endpoint_override.
  bool without_keystone = false;
  std::string username, user_id, password, user_domain_name, user_domain_id;
  std::string project_name, project_id, project_domain_name, project_domain_id;
  std::string application_credential_id, application_credential_name, application_credential_secret;
  std::string region_name, endpoint_override;
  std::vector<std::string> valid_interfaces{"internal", "public"};
  std::string cafile, certfile, keyfile;
  bool insecure = false;
  std::chrono::milliseconds timeout{10'000};

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
