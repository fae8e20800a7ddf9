// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_address.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "metatap/address.hpp"

namespace metatap {
namespace {

/// Where Debian keeps the host's certificate authorities in one file.
constexpr auto kAuthorities = "/etc/ssl/certs/ca-certificates.crt";

std::string without_driver(std::string_view url) {
  std::string text(url);
  const auto scheme = text.find("://");
  if (const auto driver = text.find('+'); driver < scheme) {
    text.erase(driver, scheme - driver);
  }
  return text;
}

std::string shown(std::string_view url) {
  std::string text(url.substr(0, url.find('?')));
  const auto begin = text.find("://") + 3;
  const auto at = text.rfind('@');
  if (const auto colon = text.find(':', begin); at != std::string::npos && colon < at) {
    text.erase(colon, at - colon);
  }
  return text;
}

/// Whether one of the hosts, separated by commas, can only be reached over a network.
bool over_network(std::string_view hosts) {
  while (!hosts.empty()) {
    const auto end = std::min(hosts.find(','), hosts.size());
    const auto host = hosts.substr(0, end);
    hosts.remove_prefix(std::min(end + 1, hosts.size()));
    if (host.empty() || host.starts_with('/') || host.starts_with('@') || host == "localhost") {
      continue;  // libpq's default and these are sockets of this host
    }
    const auto address = Address::parse(host);
    const bool loopback =
        address && (address->v4() ? address->text().starts_with("127.") : address->text() == "::1");
    if (!loopback) {
      return true;
    }
  }
  return false;
}

std::string conninfo_value(std::string_view value) {
  std::string text = "'";
  for (const char c : value) {
    if (c == '\'' || c == '\\') {
      text += '\\';
    }
    text += c;
  }
  return text + "'";
}

}  // namespace

Result<PostgresAddress> PostgresAddress::of(std::string_view url, std::chrono::milliseconds limit) {
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> parsed(
      PQconninfoParse(without_driver(url).c_str(), nullptr), PQconninfoFree);
  if (!parsed) {
    return fail(ErrorCode::invalid, "not a URL that PostgreSQL's library understands");
  }
  std::map<std::string, std::string> options;
  for (const auto* option = parsed.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) {
      options.emplace(option->keyword, option->val);
    }
  }
  const auto milliseconds = std::to_string(limit.count());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
  options.emplace("connect_timeout", std::to_string(std::max<long>(2, seconds)));
  options.emplace("tcp_user_timeout", milliseconds);
  options.emplace("keepalives_idle", "5");
  options.emplace("keepalives_interval", "2");
  options.emplace("keepalives_count", "3");
  options.emplace("application_name", "metatap");
  const auto& hosts = options.contains("hostaddr") ? options["hostaddr"] : options["host"];
  if (over_network(hosts) && options.emplace("sslmode", "verify-full").second &&
      std::filesystem::exists(kAuthorities)) {
    options.emplace("sslrootcert", kAuthorities);
  }
  PostgresAddress address{{}, metatap::shown(url)};
  for (const auto& [name, value] : options) {
    if (!value.empty()) {
      address.options += name + "=" + conninfo_value(value) + " ";
    }
  }
  return address;
}

}  // namespace metatap
