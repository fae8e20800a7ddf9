// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "metatap/result.hpp"

namespace boost::asio::ssl {
class context;
}

namespace metatap::http {

/// TLS towards a server, of whatever protocol.
struct TlsOptions {
  std::string ca_file{};                    ///< empty: the system's trust store
  std::string client_cert{}, client_key{};  ///< PEM files; used only if both are set
  bool insecure = false;                    ///< do not verify the server
};

/// ErrorCode::invalid, with the file's name, when one of the files cannot be read.
[[nodiscard]] Result<std::unique_ptr<boost::asio::ssl::context>> tls_client(
    const TlsOptions& options);

}  // namespace metatap::http
