// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_options.hpp"

#include "base/option_reader.hpp"

namespace metatap::agent {
namespace {

using Method = openstack::Access::Method;

/// How Keystone is to be asked: keystoneauth's options, in whatever group they stand.
void read_credentials(OptionReader& read, std::string_view group, NeutronOptions& options,
                      std::string& type) {
  read.text(
      {group, "auth_type", "password, v3applicationcredential or none; absent: what is given"},
      type);
  read.text({group, "username", "Who asks, for password"}, options.username);
  read.text({group, "user_id", "The same by id"}, options.user_id);
  read.secret({group, "password", "Its password"}, options.password);
  read.text({group, "user_domain_name", "The user's domain"}, options.user_domain_name);
  read.text({group, "user_domain_id", "The same by id"}, options.user_domain_id);
  read.text({group, "project_name", "The project it asks for"}, options.project_name);
  read.text({group, "project_id", "The same by id"}, options.project_id);
  read.text({group, "project_domain_name", "The project's domain"}, options.project_domain_name);
  read.text({group, "project_domain_id", "The same by id"}, options.project_domain_id);
  read.text({group, "application_credential_id", "For v3applicationcredential"},
            options.application_credential_id);
  read.text({group, "application_credential_name", "The same by name, together with a user"},
            options.application_credential_name);
  read.secret({group, "application_credential_secret", "The application credential's secret"},
              options.application_credential_secret);
  read.text({group, "region_name", "The region whose Neutron is asked; empty: the first there is"},
            options.region_name);
  read.text({group, "cafile", "CA certificates; empty: the system's"}, options.cafile);
  read.text({group, "certfile", "Client certificate"}, options.certfile);
  read.text({group, "keyfile", "Its private key"}, options.keyfile);
  read.boolean({group, "insecure", "Servers' certificates are not checked"}, options.insecure);
  read.list({group, "valid_interfaces", "Which of the catalogue's interfaces will do, best first"},
            options.valid_interfaces);
  read.decimal_seconds({group, "timeout", "How long an answer may take"}, options.timeout, 0, 600);
  read.require(group, "timeout", options.timeout.count() > 0, "more than no time");

  read.require(group, "auth_type",
               type.empty() || type == "password" || type == "v3password" ||
                   type == "v3applicationcredential" || type == "none",
               "one of password, v3password, v3applicationcredential, none");
  read.require(group, "keyfile", options.keyfile.empty() || !options.certfile.empty(),
               "a certfile, too: a key without its certificate is of no use");
  for (auto& interface : options.valid_interfaces) {  // publicURL is keystoneauth's older word
    interface = interface.substr(0, interface.rfind("URL"));
    read.require(group, "valid_interfaces",
                 interface == "public" || interface == "internal" || interface == "admin",
                 "some of public, internal, admin");
  }
}

/// What cannot be done without, by the way of asking.
Status check_complete(const NeutronOptions& options, const std::string& group) {
  const auto needed = [&](bool there, std::string_view what) -> Status {
    return there ? Status()
                 : fail(ErrorCode::invalid, "[" + group + "] " + std::string(what) +
                                                " is needed to ask Neutron ([agent] directory = "
                                                "neutron)");
  };
  if (options.method == Method::none) {
    return needed(!options.endpoint_override.empty(), "endpoint_override");
  }
  if (auto status = needed(!options.auth_url.empty(), "auth_url"); !status) {
    return status;
  }
  if (options.method == Method::application_credential) {
    auto status = needed(
        !options.application_credential_id.empty() || !options.application_credential_name.empty(),
        "application_credential_id");
    return status ? needed(!options.application_credential_secret.empty(),
                           "application_credential_secret")
                  : status;
  }
  for (const auto& status :
       {needed(!options.username.empty() || !options.user_id.empty(), "username"),
        needed(!options.password.empty(), "password"),
        needed(!options.project_name.empty() || !options.project_id.empty(), "project_name")}) {
    if (!status) {
      return status;
    }
  }
  return {};
}

}  // namespace

Result<NeutronOptions> NeutronOptions::from(const Config& config) {
  NeutronOptions options;
  OptionReader read(config);
  std::string group = "neutron";
  constexpr std::string_view kUrl = "Keystone's URL";
  read.url({group, "auth_url", kUrl}, options.auth_url);
  const auto alone = config.text(group, "auth_type", "").map([](const std::string& type) {
    return type == "none";
  });
  if (options.auth_url.empty() && !alone.value_or(false)) {
    read.url({"keystone_authtoken", "auth_url", kUrl}, options.auth_url);
    if (!options.auth_url.empty()) {
      group = "keystone_authtoken";
    }
  }
  std::string type;
  read_credentials(read, group, options, type);
  read.url({"neutron", "endpoint_override", "Neutron's URL; empty: as Keystone's catalogue has it"},
           options.endpoint_override);
  bool cached = true;
  read.boolean({"cache", "enabled", "Answers are kept"}, cached);
  read.seconds({"cache", "expiration_time", "How long an answer is good"}, options.ttl, 0, 86'400);
  read.seconds(
      {"cache", "negative_expiration_time", "How long the answer is good that there is none"},
      options.negative_ttl, 0, 86'400);
  if (!cached) {
    options.ttl = options.negative_ttl = {};
  }
  read.seconds(
      {"agent", "stale_if_error", "How old an answer may be that is given while Neutron is down"},
      options.stale_if_error, 0, 30 * 86'400);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }

  if (type == "none") {
    options.method = Method::none;
  } else if (type == "v3applicationcredential" ||
             (type.empty() && !options.application_credential_secret.empty())) {
    options.method = Method::application_credential;
  }
  if (auto status = check_complete(options, group); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return options;
}

}  // namespace metatap::agent
