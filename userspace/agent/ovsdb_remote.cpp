// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_remote.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "http/tls.hpp"

namespace metatap::agent {

namespace ssl = boost::asio::ssl;

Result<OvsdbRemote> OvsdbRemote::parse(const std::string& text) {
  const auto wrong = [&] {
    return fail(ErrorCode::invalid,
                "OVSDB remote '" + text + "': expected unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT");
  };
  const auto colon = text.find(':');
  if (colon == std::string::npos) {
    return wrong();
  }
  const auto kind = text.substr(0, colon);
  const auto rest = text.substr(colon + 1);
  OvsdbRemote remote;
  remote.text = text;
  if (kind == "unix") {
    // A longer path cannot be connected to, and Asio would throw.
    if (rest.empty() || rest.size() > 107) {
      return wrong();
    }
    remote.kind = Kind::unix_socket;
    remote.host = rest;
    return remote;
  }
  const auto last = rest.rfind(':');
  if ((kind != "tcp" && kind != "ssl") || last == std::string::npos || last == 0 ||
      last + 1 == rest.size()) {
    return wrong();
  }
  remote.kind = kind == "ssl" ? Kind::ssl : Kind::tcp;
  remote.host = rest.substr(0, last);
  const auto* const end = rest.data() + rest.size();
  if (std::from_chars(rest.data() + last + 1, end, remote.port).ptr != end || remote.port == 0) {
    return wrong();
  }
  if (remote.host.size() > 2 && remote.host.front() == '[' && remote.host.back() == ']') {
    remote.host = remote.host.substr(1, remote.host.size() - 2);
  }
  return remote;
}

Result<std::unique_ptr<ssl::context>> ovsdb_tls(const OvsdbOptions& options,
                                                const std::vector<OvsdbRemote>& remotes) {
  const auto remote = std::ranges::find(remotes, OvsdbRemote::Kind::ssl, &OvsdbRemote::kind);
  if (remote == remotes.end()) {
    return std::unique_ptr<ssl::context>();
  }
  const auto step = "OVSDB remote '" + remote->text + "'";
  if (options.ca_cert.empty()) {
    return fail(ErrorCode::invalid, step + ": a CA certificate must be given for ssl:");
  }
  auto tls = http::tls_client({.ca_file = options.ca_cert,
                               .client_cert = options.certificate,
                               .client_key = options.private_key});
  if (!tls) {
    return tl::make_unexpected(std::move(tls.error()).in(step));
  }
  return tls;
}

}  // namespace metatap::agent
