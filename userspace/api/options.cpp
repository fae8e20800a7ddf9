// SPDX-License-Identifier: Apache-2.0
#include "api/options.hpp"

#include <algorithm>

#include "api/versions.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"
#include "base/url.hpp"

namespace metatap::api {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
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
  constexpr long kLongest = 365L * 86'400;  // Nova has no such limit
  ApiOptions o;
  OptionReader read(config);
  read.address({"DEFAULT", "metadata_listen", "Address the API listens on, when it runs alone"},
               o.metadata_listen);
  read.integer({"DEFAULT", "metadata_listen_port", "TCP port the API listens on"},
               o.metadata_listen_port, 1, 65535);
  read.integer({"api", "max_connections",
                "Connections of the API where it runs alone; others wait, fair by address"},
               o.max_connections, 16, 1'000'000);
  read.boolean({"neutron", "service_metadata_proxy",
                "Requests come signed from an agent; if not, the peer's address says who asks"},
               o.service_metadata_proxy);
  read.secret({"DEFAULT", "metadata_proxy_shared_secret", "What agent and API sign requests with"},
              o.metadata_proxy_shared_secret);
  read.secret({"neutron", "metadata_proxy_shared_secret",
               "The same, as nova.conf has it; absent: that of [DEFAULT]"},
              o.metadata_proxy_shared_secret);
  read.text({"api", "dhcp_domain", "Appended to host names; empty: none"}, o.dhcp_domain);
  read.require("api", "dhcp_domain",
               std::ranges::all_of(o.dhcp_domain, [](char c) { return c > ' ' && c < 0x7f; }),
               "a domain's name");
  read.list({"api", "vendordata_providers", "Where vendordata comes from: StaticJSON, DynamicJSON"},
            o.vendordata_providers);
  read.require("api", "vendordata_providers",
               std::ranges::all_of(o.vendordata_providers,
                                   [](const std::string& provider) {
                                     return provider == "StaticJSON" || provider == "DynamicJSON";
                                   }),
               "some of StaticJSON, DynamicJSON");
  read.text({"api", "vendordata_jsonfile_path", "The file of StaticJSON"},
            o.vendordata_jsonfile_path);
  std::vector<std::string> targets;
  read.list({"api", "vendordata_dynamic_targets", "The services of DynamicJSON, each as name@url"},
            targets);
  o.vendordata_dynamic_targets = targets_of(targets);
  for (const DynamicTarget& target : o.vendordata_dynamic_targets) {
    const auto url = Url::parse(target.url);
    read.require("api", "vendordata_dynamic_targets", url.has_value(),
                 "name@URL, but of " + target.name + " " + (url ? "" : url.error().message));
  }
  read.text({"api", "vendordata_dynamic_ssl_certfile",
             "CA certificates for those services; empty: the system's"},
            o.vendordata_dynamic_ssl_certfile);
  read.seconds(
      {"api", "vendordata_dynamic_connect_timeout", "How long connecting to them may take"},
      o.vendordata_dynamic_connect_timeout, 3, kLongest);
  read.seconds({"api", "vendordata_dynamic_read_timeout", "How long their answer may take"},
               o.vendordata_dynamic_read_timeout, 0, kLongest);
  read.boolean(
      {"api", "vendordata_dynamic_failure_fatal", "A guest gets an error when one of them fails"},
      o.vendordata_dynamic_failure_fatal);
  read.seconds({"api", "vendordata_dynamic_cache_time",
                "How long their answer serves one instance; 0: asked every time"},
               o.vendordata_dynamic_cache_time, 0, 86400);
  read.seconds({"api", "metadata_cache_expiration",
                "Nova's; without effect here, where a change is served at once"},
               o.metadata_cache_expiration, 0, INT32_MAX);
  read.words({"api", "config_drive_skip_versions", "EC2 versions left out of a config drive"},
             o.config_drive_skip_versions);
  read.choice({"api", "newest_openstack_version",
               "Versions after this one are not offered, as by an older Nova"},
              o.newest_openstack_version, {kOpenstackVersions.begin(), kOpenstackVersions.end()});
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return o;
}

}  // namespace metatap::api
