// SPDX-License-Identifier: Apache-2.0
#include "base/named_id.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/text.hpp"

namespace metatap {
namespace {

constexpr unsigned kSha1 = 20;
/// Any UUID would do, and this one must never change.
constexpr std::array<std::uint8_t, 16> kNamespace{0x6d, 0x65, 0x74, 0x61, 0x74, 0x61, 0x40, 0x70,
                                                  0x9a, 0x9e, 0xfe, 0x80, 0xa9, 0xfe, 0xa9, 0xfe};

std::array<unsigned char, kSha1> hash_of(std::string_view name) {
  std::string bytes(kNamespace.begin(), kNamespace.end());
  bytes += name;
  std::array<unsigned char, kSha1> hash{};
  unsigned size = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, ::EVP_sha1(), nullptr);
  return hash;
}

}  // namespace

std::string uuid_of_name(std::string_view name) {
  auto hash = hash_of(name);
  hash[6] = static_cast<unsigned char>((hash[6] & 0x0fU) | 0x50U);  // version 5
  hash[8] = static_cast<unsigned char>((hash[8] & 0x3fU) | 0x80U);  // RFC 9562's variant
  auto text = hex_encoded({hash.data(), 16});
  for (const std::size_t at : {20U, 16U, 12U, 8U}) {
    text.insert(at, 1, '-');
  }
  return text;
}

std::string digits_of_name(std::string_view name, unsigned digits) {
  return hex_encoded(hash_of(name)).substr(0, digits);
}

}  // namespace metatap
