// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <string>

#include "unit/http/support.hpp"

namespace metatap::testing {

/// A certificate for 127.0.0.1 that is its own authority, and its key.
class Certificate {
 public:
  /// Without the openssl program there is none.
  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] const std::string& file() const { return file_; }
  [[nodiscard]] const std::string& key() const { return key_; }

 private:
  TemporaryDirectory directory_;
  std::string file_ = directory_.file("cert.pem"), key_ = directory_.file("key.pem");
  bool made_ =
      std::system(("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=metatap-test "
                   "-addext subjectAltName=IP:127.0.0.1 -keyout " +
                   key_ + " -out " + file_ + " 2>/dev/null")
                      .c_str()) == 0;
};

}  // namespace metatap::testing
