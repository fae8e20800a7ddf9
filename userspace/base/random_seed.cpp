// SPDX-License-Identifier: Apache-2.0
#include "base/random_seed.hpp"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/log.hpp"

namespace metatap {
namespace {

/// Compilers have an instruction for each operation on it, on every machine.
using Bytes [[gnu::vector_size(16)]] = signed char;

/// Base64's digit for the last six bits of each byte.
Bytes digits_of(Bytes bytes) {
  const Bytes value = bytes & 0x3F;
  return value + 'A' + ((value > 25) & ('a' - 'Z' - 1)) + ((value > 51) & ('0' - 'z' - 1)) +
         ((value > 61) & ('+' - '9' - 1)) + ((value > 62) & ('/' - '+' - 1));
}

// Each digit is drawn by itself: base64 of random bytes is random digits. The last group of three
// stands for two bytes, so its last digit has four bits.
constexpr std::size_t kDigits = kSeedText - 1;
constexpr std::size_t kDrawn = (kDigits + sizeof(Bytes) - 1) / sizeof(Bytes) * sizeof(Bytes);
static_assert(kSeedBytes % 3 == 2 && kSeedText == (kSeedBytes + 1) / 3 * 4);

struct Pool {
  std::array<char, 32 * kDrawn> bytes;
  std::size_t used = sizeof(bytes);
};

}  // namespace

void append_random_seed(std::string& out) {
  static thread_local Pool pool;
  if (pool.used == pool.bytes.size()) {
    if (RAND_bytes(reinterpret_cast<unsigned char*>(pool.bytes.data()),
                   static_cast<int>(pool.bytes.size())) != 1) {
      // A guest must never get a predictable seed, and there is nothing left to try.
      log::error("the random number generator failed");
      std::abort();
    }
    pool.used = 0;
  }
  char* const drawn = pool.bytes.data() + pool.used;
  pool.used += kDrawn;
  drawn[kDigits - 1] = static_cast<char>(drawn[kDigits - 1] & 0x3C);
  for (std::size_t at = 0; at < kDrawn; at += sizeof(Bytes)) {
    Bytes some;
    std::memcpy(&some, drawn + at, sizeof some);
    some = digits_of(some);
    std::memcpy(drawn + at, &some, sizeof some);
  }
  drawn[kDigits] = '=';
  out.append(drawn, kSeedText);
  OPENSSL_cleanse(drawn, kDrawn);
}

}  // namespace metatap
