// SPDX-License-Identifier: Apache-2.0
#include "api/auth.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

namespace metatap::api {

Signature sign(std::string_view secret, std::string_view text) {
  std::array<unsigned char, 32> digest{};
  unsigned size = digest.size();
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &size);
  static constexpr std::string_view kHex = "0123456789abcdef";
  Signature signature{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    signature[2 * i] = kHex[digest[i] >> 4U];
    signature[2 * i + 1] = kHex[digest[i] & 0xFU];
  }
  return signature;
}

bool same_signature(std::string_view given, const Signature& expected) {
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

}  // namespace metatap::api
