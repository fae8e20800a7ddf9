// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_options.hpp"

namespace metatap::agent {

Result<NeutronOptions> NeutronOptions::from(const Config& config) {
  NeutronOptions options;
  Status status;
  const auto keep = [&](auto value, auto& into) {
    if (value) {
      into = std::move(*value);
    } else if (status) {
      status = tl::make_unexpected(std::move(value.error()));
    }
  };
  std::string group = "neutron";
  keep(config.text(group, "auth_url", ""), options.auth_url);
  if (options.auth_url.empty()) {
    keep(config.text("keystone_authtoken", "auth_url", ""), options.auth_url);
    if (!options.auth_url.empty()) {
      group = "keystone_authtoken";
    }
  }
  const auto text = [&](std::string_view name, std::string& into) {
    keep(config.text(group, name, into), into);
  };
  std::string type;
  text("auth_type", type);
  text("username", options.username);
  text("user_id", options.user_id);
  text("password", options.password);
  text("user_domain_name", options.user_domain_name);
  text("user_domain_id", options.user_domain_id);
  text("project_name", options.project_name);
  text("project_id", options.project_id);
  text("project_domain_name", options.project_domain_name);
  text("project_domain_id", options.project_domain_id);
  text("application_credential_id", options.application_credential_id);
  text("application_credential_name", options.application_credential_name);
  text("application_credential_secret", options.application_credential_secret);
  text("region_name", options.region_name);
  keep(config.text("neutron", "endpoint_override", ""), options.endpoint_override);
  text("cafile", options.cafile);
  text("certfile", options.certfile);
  text("keyfile", options.keyfile);
  keep(config.boolean(group, "insecure", false), options.insecure);
  keep(config.list(group, "valid_interfaces", options.valid_interfaces), options.valid_interfaces);
  long number = 10;
  keep(config.integer(group, "timeout", number, 1, 600), number);
  options.timeout = std::chrono::seconds(number);

  bool cached = true;
  keep(config.boolean("cache", "enabled", true), cached);
  number = 60;
  keep(config.integer("cache", "expiration_time", number, 0, 86'400), number);
  options.ttl = std::chrono::seconds(cached ? number : 0);
  number = 5;
  keep(config.integer("cache", "negative_expiration_time", number, 0, 86'400), number);
  options.negative_ttl = std::chrono::seconds(cached ? number : 0);
  number = 86'400;
  keep(config.integer("agent", "stale_if_error", number, 0, 30 * 86'400), number);
  options.stale_if_error = std::chrono::seconds(number);
  if (!status) {
    return tl::make_unexpected(std::move(status.error()));
  }

  options.application_credential = type == "v3applicationcredential" ||
                                   (type.empty() && !options.application_credential_secret.empty());
  const auto needed = [&](bool there, std::string_view what) {
    if (!there && status) {
      status = fail(ErrorCode::invalid, "[" + group + "] " + std::string(what) +
                                            " is needed to ask Neutron ([agent] directory = "
                                            "neutron)");
    }
  };
  if (!type.empty() && type != "password" && type != "v3password" &&
      type != "v3applicationcredential") {
    return fail(ErrorCode::invalid,
                config.where(group, "auth_type").value_or("default") + ": [" + group +
                    "] auth_type = '" + type +
                    "': expected one of password, v3password, v3applicationcredential");
  }
  needed(!options.auth_url.empty(), "auth_url");
  if (options.application_credential) {
    needed(
        !options.application_credential_id.empty() || !options.application_credential_name.empty(),
        "application_credential_id");
    needed(!options.application_credential_secret.empty(), "application_credential_secret");
  } else {
    needed(!options.username.empty() || !options.user_id.empty(), "username");
    needed(!options.password.empty(), "password");
    needed(!options.project_name.empty() || !options.project_id.empty(), "project_name");
  }
  if (!status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return options;
}

}  // namespace metatap::agent
