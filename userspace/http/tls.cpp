// SPDX-License-Identifier: Apache-2.0
#include "http/tls.hpp"

#include <boost/asio/ssl/context.hpp>

namespace metatap::http {

namespace ssl = boost::asio::ssl;

Result<std::unique_ptr<ssl::context>> tls_client(const TlsOptions& options) {
  auto tls = std::make_unique<ssl::context>(ssl::context::tls_client);
  boost::system::error_code error;
  const auto failed = [&](const std::string& file) {
    return fail(ErrorCode::invalid, "read " + file + ": " + error.message());
  };
  if (options.insecure) {
    tls->set_verify_mode(ssl::verify_none, error);
  } else {
    tls->set_verify_mode(ssl::verify_peer, error);
    if (options.ca_file.empty()) {
      tls->set_default_verify_paths(error);
    } else if (tls->load_verify_file(options.ca_file, error); error) {
      return failed(options.ca_file);
    }
  }
  if (!options.client_cert.empty() && !options.client_key.empty()) {
    if (tls->use_certificate_chain_file(options.client_cert, error); error) {
      return failed(options.client_cert);
    }
    if (tls->use_private_key_file(options.client_key, ssl::context::pem, error); error) {
      return failed(options.client_key);
    }
  }
  return tls;
}

}  // namespace metatap::http
