// SPDX-License-Identifier: Apache-2.0
#include "admin/options.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "base/option_reader.hpp"
#include "metatap/address.hpp"

namespace metatap::admin {
namespace {

/// A daemon that has just ended may not have let go of it yet.
constexpr int kTries = 20;
constexpr std::chrono::milliseconds kPause{50};

/// ADDRESS:PORT, with an IPv6 address in brackets. nullopt: it is not that.
std::optional<http::TcpEndpoint> endpoint_of(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  auto host = text.substr(0, colon);
  const auto port = text.substr(colon + 1);
  const bool bracketed = host.starts_with('[') && host.ends_with(']') && host.size() > 2;
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  const auto address = Address::parse(host);
  http::TcpEndpoint endpoint{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (!address || address->v4() == bracketed || error != std::errc() ||
      end != port.data() + port.size() || endpoint.port == 0) {
    return std::nullopt;
  }
  return endpoint;
}

/// Whether guests may be able to reach it, whatever the host's routes are.
bool faces_guests(const Address& its) {
  const auto address = its.unmapped();
  const bool wildcard = std::ranges::all_of(address.bytes, [](auto byte) { return byte == 0; });
  const auto metadata = Prefix::parse("169.254.0.0/16");
  return wildcard || address.link_local() || metadata->contains(address);
}

}  // namespace

Result<MetricsOptions> MetricsOptions::from(const Config& config) {
  MetricsOptions options;
  OptionReader read(config);
  std::string listen;
  read.text({"admin", "metrics_listen",
             "ADDRESS:PORT for metrics, health and the status page, to whoever can connect; empty: "
             "nowhere but on the admin socket"},
            listen);
  options.listen = endpoint_of(listen);
  read.require("admin", "metrics_listen", listen.empty() || options.listen,
               "ADDRESS:PORT, as 127.0.0.1:9775 or [2001:db8::1]:9775");
  read.require(
      "admin", "metrics_listen",
      !options.listen || !faces_guests(*Address::parse(options.listen->host)),
      "one address of this host that no guest can reach: not a wildcard, 169.254.0.0/16 or "
      "fe80::/10");
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

Result<UniqueFd> MetricsOptions::open() const {
  if (!listen) {
    return UniqueFd();
  }
  auto unused = http::check_unused(*listen);
  for (int tries = 0; !unused && tries < kTries; ++tries) {
    std::this_thread::sleep_for(kPause);
    unused = http::check_unused(*listen);
  }
  auto listening = unused ? http::listen_tcp(*listen) : tl::make_unexpected(unused.error());
  return std::move(listening).map_error(
      [](Error error) { return std::move(error).in("[admin] metrics_listen"); });
}

}  // namespace metatap::admin
