// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "importer/openrc.hpp"
#include "metatap/result.hpp"
#include "openstack/access.hpp"

namespace metatap::importer {

/// Where the credentials are. A command line is everybody's to read, so none are taken from there.
struct CredentialSource {
  std::filesystem::path openrc;  ///< empty: none
  std::string cloud;             ///< of a clouds.yaml; empty: what OS_CLOUD says, if anything
  Variables environment;         ///< what neither of them says is taken from here
};

/// How the cloud is signed in to, and the endpoints that are said and not the catalogue's.
struct Credentials {
  openstack::Access access;
  std::string neutron_url, nova_url;
};

/// As OpenStack's own command line finds them: a clouds.yaml (OS_CLIENT_CONFIG_FILE, here, under
/// ~/.config/openstack, /etc/openstack) with the secure.yaml beside it, or OS_ variables.
/// ErrorCode::invalid: something is missing or makes no sense, and not_found: there is no such file
/// or cloud; in a sentence that names it, and no secret.
[[nodiscard]] Result<Credentials> find_credentials(const CredentialSource& source);

/// Of this process.
[[nodiscard]] Variables environment();

}  // namespace metatap::importer
