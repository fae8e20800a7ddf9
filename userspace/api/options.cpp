// SPDX-License-Identifier: Apache-2.0
#include "api/options.hpp"

#include <algorithm>
#include <sstream>

#include "api/versions.hpp"
#include "base/log.hpp"

namespace metatap::api {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

/// Moves the value of one option into its place, or keeps the first error.
template <class T, class Field>
void take(Status& status, Result<T> value, Field& field) {
  if (!value) {
    if (status) {
      status = tl::make_unexpected(std::move(value).error());
    }
  } else if constexpr (std::is_same_v<T, long>) {
    field = Field(*value);
  } else {
    field = std::move(*value);
  }
}

/// Nova's reading of `name@url`: split at the first `@`; entries without one and repeated names
/// are skipped.
std::vector<DynamicTarget> targets_of(const std::vector<std::string>& entries) {
  std::vector<DynamicTarget> targets;
  for (const std::string& entry : entries) {
    const auto at = entry.find('@');
    if (at == std::string::npos) {
      log::warn("vendordata_dynamic_targets: '{}' has no '@', skipped", entry);
      continue;
    }
    DynamicTarget target{entry.substr(0, at), entry.substr(at + 1)};
    if (std::ranges::find(targets, target.name, &DynamicTarget::name) != targets.end()) {
      log::warn("vendordata_dynamic_targets: a second '{}', skipped", target.name);
      continue;
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

}  // namespace

bool ApiOptions::static_vendordata() const {
  return contains(vendordata_providers, "StaticJSON");
}

bool ApiOptions::dynamic_vendordata() const {
  return contains(vendordata_providers, "DynamicJSON") && !vendordata_dynamic_targets.empty();
}

std::size_t ApiOptions::openstack_versions() const {
  const auto found = std::ranges::find(kOpenstackVersions, newest_openstack_version);
  return found == kOpenstackVersions.end()
             ? kOpenstackVersions.size()
             : static_cast<std::size_t>(found - kOpenstackVersions.begin()) + 1;
}

Result<ApiOptions> ApiOptions::from(const Config& config) {
  ApiOptions o;
  Status ok;
  take(ok, config.text("DEFAULT", "metadata_listen", o.metadata_listen), o.metadata_listen);
  take(ok, config.integer("DEFAULT", "metadata_listen_port", o.metadata_listen_port, 1, 65535),
       o.metadata_listen_port);
  take(ok, config.boolean("neutron", "service_metadata_proxy", o.service_metadata_proxy),
       o.service_metadata_proxy);
  take(ok, config.text("DEFAULT", "metadata_proxy_shared_secret", ""),
       o.metadata_proxy_shared_secret);
  take(ok, config.text("neutron", "metadata_proxy_shared_secret", o.metadata_proxy_shared_secret),
       o.metadata_proxy_shared_secret);
  take(ok, config.text("api", "dhcp_domain", o.dhcp_domain), o.dhcp_domain);
  take(ok, config.list("api", "vendordata_providers", o.vendordata_providers),
       o.vendordata_providers);
  take(ok, config.text("api", "vendordata_jsonfile_path", ""), o.vendordata_jsonfile_path);
  std::vector<std::string> targets;
  take(ok, config.list("api", "vendordata_dynamic_targets", {}), targets);
  o.vendordata_dynamic_targets = targets_of(targets);
  take(ok, config.text("api", "vendordata_dynamic_ssl_certfile", ""),
       o.vendordata_dynamic_ssl_certfile);
  take(ok, config.integer("api", "vendordata_dynamic_connect_timeout", 5, 3, 3600),
       o.vendordata_dynamic_connect_timeout);
  take(ok, config.integer("api", "vendordata_dynamic_read_timeout", 5, 0, 3600),
       o.vendordata_dynamic_read_timeout);
  take(ok, config.boolean("api", "vendordata_dynamic_failure_fatal", false),
       o.vendordata_dynamic_failure_fatal);
  take(ok, config.integer("api", "vendordata_dynamic_cache_time", 60, 0, 86400),
       o.vendordata_dynamic_cache_time);
  take(ok, config.integer("api", "metadata_cache_expiration", 15, 0, 86400 * 365),
       o.metadata_cache_expiration);
  std::string skip;
  for (const std::string& version : o.config_drive_skip_versions) {
    skip += version + " ";
  }
  take(ok, config.text("api", "config_drive_skip_versions", skip), skip);
  o.config_drive_skip_versions = words(skip);
  const std::vector<std::string_view> known(kOpenstackVersions.begin(), kOpenstackVersions.end());
  take(ok, config.choice("api", "newest_openstack_version", o.newest_openstack_version, known),
       o.newest_openstack_version);
  if (!ok) {
    return tl::make_unexpected(std::move(ok).error());
  }
  for (const std::string& provider : o.vendordata_providers) {
    if (provider != "StaticJSON" && provider != "DynamicJSON") {
      log::warn("vendordata_providers: no provider is called '{}', ignored", provider);
    }
  }
  return o;
}

}  // namespace metatap::api
