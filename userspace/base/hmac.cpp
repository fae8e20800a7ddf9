// SPDX-License-Identifier: Apache-2.0
#include "base/hmac.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>

#include "base/log.hpp"
#include "base/text.hpp"

namespace metatap {
namespace {

using Digest = std::array<unsigned char, 32>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// Without memory, or with an OpenSSL that lacks SHA-256, there is no signature; a made-up one
/// would be one that anybody can make up.
void must(bool done) {
  if (!done) {
    log::error("OpenSSL computes no HMAC-SHA256");
    std::abort();
  }
}

Signature hex(const Digest& digest) {
  Signature text{};
  std::ranges::copy(hex_encoded(digest), text.begin());
  return text;
}

/// One thread's HMAC computation. It remembers the key it was last set up with, and what it signed
/// last: the next request is often the same guest's.
class Computation {
 public:
  const Signature& run(std::uint64_t number, std::string_view key, std::string_view text) {
    if (number == number_ && text == text_) {
      return signature_;
    }
    std::string sha256 = "SHA256";
    const std::array<OSSL_PARAM, 2> which{
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256.data(), 0),
        OSSL_PARAM_construct_end()};
    must(context_ && (number == number_ ? EVP_MAC_init(context_.get(), nullptr, 0, nullptr) == 1
                                        : EVP_MAC_init(context_.get(), bytes_of(key), key.size(),
                                                       which.data()) == 1));
    number_ = number;
    Digest digest;
    std::size_t size = 0;
    must(EVP_MAC_update(context_.get(), bytes_of(text), text.size()) == 1 &&
         EVP_MAC_final(context_.get(), digest.data(), &size, digest.size()) == 1 &&
         size == digest.size());
    text_ = text;
    signature_ = hex(digest);
    return signature_;
  }

 private:
  static EVP_MAC_CTX* fresh() {
    EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    EVP_MAC_CTX* const context = mac == nullptr ? nullptr : EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    return context;
  }

  std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context_{fresh(), &EVP_MAC_CTX_free};
  std::uint64_t number_ = 0;
  std::string text_;
  Signature signature_{};
};

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

}  // namespace

Signature sign(std::string_view key, std::string_view text) {
  Digest digest;
  unsigned size = digest.size();
  must(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(),
            digest.data(), &size) != nullptr);
  return hex(digest);
}

bool same_signature(std::string_view given, const Signature& expected) {
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

SigningKey::SigningKey(std::string bytes) : bytes_(std::move(bytes)), number_(next_number()) {}

SigningKey::~SigningKey() {
  OPENSSL_cleanse(bytes_.data(), bytes_.size());
}

Signature SigningKey::sign(std::string_view text) const {
  thread_local Computation mine;
  return mine.run(number_, bytes_, text);
}

}  // namespace metatap
