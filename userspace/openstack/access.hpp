// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace metatap::openstack {

/// How Keystone v3 is signed in to, and which of the endpoints of its catalogue are asked: in the
/// words of keystoneauth's options.
struct Access {
  enum class Method : std::uint8_t {
    password,
    application_credential,
    token,  ///< one that somebody else was given; it is scoped anew, and cannot outlive itself
    none,   ///< no Keystone and no tokens: the service is `noauth`
  };
  Method method = Method::password;
  std::string auth_url;
  std::string username, user_id, password, user_domain_name, user_domain_id;
  std::string project_name, project_id, project_domain_name, project_domain_id;
  std::string application_credential_id, application_credential_name, application_credential_secret;
  std::string token;
  std::string region_name;                                          ///< empty: any
  std::vector<std::string> valid_interfaces{"internal", "public"};  ///< best first
  std::string cafile, certfile, keyfile;
  bool insecure = false;
  std::chrono::milliseconds timeout{10'000};           ///< for one answer
  std::size_t largest_answer = std::size_t{8} << 20U;  ///< bytes; beyond it: 502
};

}  // namespace metatap::openstack
