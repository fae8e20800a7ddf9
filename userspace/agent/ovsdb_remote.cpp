// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_remote.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

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
  remote.port = rest.substr(last + 1);
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
  const auto wrong = [&](const std::string& what) {
    return fail(ErrorCode::invalid, "OVSDB remote '" + remote->text + "': " + what);
  };
  boost::system::error_code error;
  const auto unreadable = [&](std::string_view what, const std::string& file) {
    return wrong("read " + std::string(what) + " " + file + ": " + error.message());
  };
  auto tls = std::make_unique<ssl::context>(ssl::context::tls_client);
  if (options.ca_cert.empty()) {
    return wrong("a CA certificate must be given for ssl:");
  }
  if (tls->load_verify_file(options.ca_cert, error); error) {
    return unreadable("the CA certificate", options.ca_cert);
  }
  tls->set_verify_mode(ssl::verify_peer, error);
  if (!options.certificate.empty() && !options.private_key.empty()) {
    if (tls->use_certificate_chain_file(options.certificate, error); error) {
      return unreadable("the certificate", options.certificate);
    }
    if (tls->use_private_key_file(options.private_key, ssl::context::pem, error); error) {
      return unreadable("the private key", options.private_key);
    }
  }
  return tls;
}

}  // namespace metatap::agent
