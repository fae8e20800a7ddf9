// SPDX-License-Identifier: Apache-2.0
#include "importer/credentials.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/ascii.hpp"
#include "base/file.hpp"
#include "importer/clouds_file.hpp"

namespace metatap::importer {
namespace {

using Method = openstack::Access::Method;
using Values = std::map<std::string, std::string>;

constexpr std::size_t kLongestFile = std::size_t{1} << 20U;

/// Options by keystoneauth's name, and how whoever set them spells that.
struct Settings {
  Values values;
  bool variables = false;  ///< "OS_USERNAME" rather than "username"
  std::string from;        ///< for sentences: " (clouds.yaml: …)", or empty
  std::map<std::string, std::size_t, std::less<>> computed{};  ///< of an openrc file

  [[nodiscard]] std::string get(std::string_view name) const {
    const auto found = values.find(std::string(name));
    return found == values.end() ? "" : found->second;
  }
  /// The first of several names that says something.
  [[nodiscard]] std::string get(std::initializer_list<std::string_view> names) const {
    for (const auto name : names) {
      if (auto value = get(name); !value.empty()) {
        return value;
      }
    }
    return "";
  }
  [[nodiscard]] std::string spelled(std::string_view name) const {
    if (!variables) {
      return std::string(name);
    }
    std::string upper = "OS_";
    std::ranges::transform(name, std::back_inserter(upper), [](char c) {
      return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    return upper;
  }
};

std::string lower_case(std::string_view text) {
  std::string made(text);
  std::ranges::transform(made, made.begin(), [](char c) { return lower(c); });
  return made;
}

void put_variables(const Variables& variables, Settings& into) {
  for (const auto& [name, value] : variables) {
    if (name.starts_with("OS_") && !value.empty()) {
      into.values.insert_or_assign(lower_case(std::string_view(name).substr(3)), value);
    }
  }
}

/// Where clouds.yaml may be, best first.
std::vector<std::filesystem::path> places(const Variables& environment) {
  std::vector<std::filesystem::path> all;
  if (const auto named = environment.find("OS_CLIENT_CONFIG_FILE"); named != environment.end()) {
    all.emplace_back(named->second);
  }
  all.emplace_back("clouds.yaml");
  if (const auto home = environment.find("HOME"); home != environment.end()) {
    all.push_back(std::filesystem::path(home->second) / ".config/openstack/clouds.yaml");
  }
  all.emplace_back("/etc/openstack/clouds.yaml");
  return all;
}

Result<Settings> of_cloud(const std::string& cloud, const Variables& environment) {
  for (const auto& file : places(environment)) {
    std::error_code none;
    if (!std::filesystem::exists(file, none)) {
      continue;
    }
    const auto text = read_file(file, kLongestFile);
    auto said = text ? read_cloud(*text, cloud) : Result<Values>(tl::make_unexpected(text.error()));
    if (!said) {
      return tl::make_unexpected(std::move(said.error()).in(file.string()));
    }
    // Secrets may be in a file of their own, beside it.
    const auto secure = file.parent_path() / "secure.yaml";
    if (const auto more = read_file(secure, kLongestFile)) {
      auto secrets = read_cloud(*more, cloud);
      if (!secrets && secrets.error().code != ErrorCode::not_found) {
        return tl::make_unexpected(std::move(secrets.error()).in(secure.string()));
      }
      if (secrets) {
        for (auto& [name, value] : *secrets) {
          said->insert_or_assign(name, std::move(value));
        }
      }
    }
    return Settings{.values = *std::move(said),
                    .from = " (cloud '" + cloud + "' of " + file.string() + ")"};
  }
  return fail(ErrorCode::not_found, "there is no clouds.yaml for cloud '" + cloud +
                                        "': not here, in ~/.config/openstack or in /etc/openstack");
}

Result<Settings> of_variables(const CredentialSource& source) {
  Settings settings{.values = {}, .variables = true, .from = {}};
  auto variables = source.environment;
  if (!source.openrc.empty()) {
    const auto text = read_file(source.openrc, kLongestFile);
    if (!text) {
      return tl::make_unexpected(text.error());
    }
    const auto openrc = read_openrc(*text);
    if (openrc.set.empty() && openrc.computed.empty()) {
      return fail(ErrorCode::invalid, source.openrc.string() + " sets no OS_ variable");
    }
    for (const auto& name : openrc.unset) {
      variables.erase(name);
    }
    for (const auto& [name, value] : openrc.set) {
      variables.insert_or_assign(name, value);
    }
    settings.computed = openrc.computed;
    settings.from = " (" + source.openrc.string() + ")";
  }
  put_variables(variables, settings);
  return settings;
}

/// What is there, or what is missing for that.
class Reader {
 public:
  explicit Reader(const Settings& settings) : settings_(settings) {}

  std::string needed(std::initializer_list<std::string_view> names) {
    auto value = settings_.get(names);
    if (value.empty() && missing_.empty()) {
      const auto name = settings_.spelled(*names.begin());
      missing_ = name + " is needed to sign in" + settings_.from;
      if (const auto line = settings_.computed.find(name); line != settings_.computed.end()) {
        missing_ +=
            ": line " + std::to_string(line->second) +
            " computes it or asks for it, and the file is not run; set it in the environment";
      }
    }
    return value;
  }
  void refuse(std::string_view name, const std::string& reason) {
    if (missing_.empty()) {
      missing_ = settings_.spelled(name) + ": " + reason + settings_.from;
    }
  }
  [[nodiscard]] Status status() const {
    return missing_.empty() ? Status() : fail(ErrorCode::invalid, missing_);
  }

 private:
  const Settings& settings_;
  std::string missing_;
};

Method method_of(const Settings& settings, Reader& reader) {
  const auto type = settings.get("auth_type");
  for (const auto& [word, method] :
       {std::pair("password", Method::password), std::pair("v3password", Method::password),
        std::pair("v3applicationcredential", Method::application_credential),
        std::pair("token", Method::token), std::pair("v3token", Method::token),
        std::pair("none", Method::none)}) {
    if (type == word) {
      return method;
    }
  }
  if (!type.empty()) {
    reader.refuse("auth_type",
                  "'" + type + "' is none of password, v3applicationcredential, token, none");
  }
  if (!settings.get("application_credential_secret").empty()) {
    return Method::application_credential;
  }
  return settings.get({"token", "auth_token"}).empty() ? Method::password : Method::token;
}

void read_identity(const Settings& settings, Reader& reader, openstack::Access& access) {
  access.user_id = settings.get("user_id");
  access.user_domain_id = settings.get({"user_domain_id", "default_domain_id"});
  access.user_domain_name =
      settings.get({"user_domain_name", "default_domain", "default_domain_name"});
  access.project_id = settings.get({"project_id", "tenant_id"});
  access.project_domain_id = settings.get({"project_domain_id", "default_domain_id"});
  access.project_domain_name =
      settings.get({"project_domain_name", "default_domain", "default_domain_name"});
  access.project_name = settings.get({"project_name", "tenant_name"});
  switch (access.method) {
    case Method::application_credential:
      access.application_credential_id = settings.get("application_credential_id");
      if (access.application_credential_id.empty()) {
        access.application_credential_name =
            reader.needed({"application_credential_id", "application_credential_name"});
        access.username = access.user_id.empty() ? reader.needed({"username"}) : "";
      }
      access.application_credential_secret = reader.needed({"application_credential_secret"});
      break;
    case Method::token:
      access.token = reader.needed({"token", "auth_token"});
      break;
    case Method::password:
      access.username = access.user_id.empty() ? reader.needed({"username"}) : "";
      access.password = reader.needed({"password"});
      if (access.project_id.empty()) {
        access.project_name = reader.needed({"project_name", "tenant_name"});
      }
      break;
    case Method::none:
      break;
  }
}

Result<Credentials> credentials_from(const Settings& settings) {
  Credentials made;
  auto& access = made.access;
  Reader reader(settings);
  access.method = method_of(settings, reader);
  if (access.method != Method::none) {
    access.auth_url = reader.needed({"auth_url"});
  }
  read_identity(settings, reader, access);
  access.region_name = settings.get("region_name");
  auto interface = settings.get({"interface", "endpoint_type"});
  interface = interface.substr(0, interface.rfind("URL"));  // publicURL is the older word
  access.valid_interfaces = {interface.empty() ? "public" : interface};
  access.cafile = settings.get({"cacert", "cafile"});
  access.certfile = settings.get({"cert", "certfile"});
  access.keyfile = settings.get({"key", "keyfile"});
  const auto verify = lower_case(settings.get("verify"));
  const auto insecure = lower_case(settings.get("insecure"));
  access.insecure = verify == "false" || verify == "no" || verify == "0" || insecure == "true" ||
                    insecure == "yes" || insecure == "1";
  made.neutron_url = settings.get({"network_endpoint_override", "network_endpoint"});
  made.nova_url = settings.get({"compute_endpoint_override", "compute_endpoint"});
  if (auto status = reader.status(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return made;
}

}  // namespace

Result<Credentials> find_credentials(const CredentialSource& source) {
  auto cloud = source.cloud;
  if (const auto named = source.environment.find("OS_CLOUD");
      cloud.empty() && source.openrc.empty() && named != source.environment.end()) {
    cloud = named->second;
  }
  const auto settings = cloud.empty() ? of_variables(source) : of_cloud(cloud, source.environment);
  if (!settings) {
    return tl::make_unexpected(settings.error());
  }
  return credentials_from(*settings);
}

Variables environment() {
  Variables all;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto name = text.substr(0, text.find('='));
    if ((name.starts_with("OS_") || name == "HOME") && name.size() < text.size()) {
      all.insert_or_assign(std::string(name), std::string(text.substr(name.size() + 1)));
    }
  }
  return all;
}

}  // namespace metatap::importer
