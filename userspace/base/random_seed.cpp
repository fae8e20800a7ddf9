// SPDX-License-Identifier: Apache-2.0
#include "base/random_seed.hpp"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "base/log.hpp"
#include "base/text.hpp"

namespace metatap {
namespace {

/// Two characters for each 12 bits.
constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 4096> pairs{};
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = {kBase64Alphabet[i >> 6U], kBase64Alphabet[i & 0x3FU]};
  }
  return pairs;
}();

struct Pool {
  std::array<unsigned char, 32 * kSeedBytes> bytes;
  std::size_t used = sizeof(bytes);
};

}  // namespace

void append_random_seed(std::string& out) {
  static thread_local Pool pool;
  if (pool.used == pool.bytes.size()) {
    if (RAND_bytes(pool.bytes.data(), static_cast<int>(pool.bytes.size())) != 1) {
      // A guest must never get a predictable seed, and there is nothing left to try.
      log::error("the random number generator failed");
      std::abort();
    }
    pool.used = 0;
  }
  unsigned char* const seed = pool.bytes.data() + pool.used;
  pool.used += kSeedBytes;
  const std::size_t start = out.size();
  out.resize(start + kSeedText);
  char* to = out.data() + start;
  const auto put = [&to](unsigned twelve_bits) {
    *to++ = kPairs[twelve_bits][0];
    *to++ = kPairs[twelve_bits][1];
  };
  std::size_t i = 0;
  for (; i + 3 <= kSeedBytes; i += 3) {
    const unsigned group = static_cast<unsigned>(seed[i]) << 16U |
                           static_cast<unsigned>(seed[i + 1]) << 8U | seed[i + 2];
    put(group >> 12U);
    put(group & 0xFFFU);
  }
  static_assert(kSeedBytes % 3 == 2);
  const unsigned last = static_cast<unsigned>(seed[i]) << 10U | static_cast<unsigned>(seed[i + 1])
                                                                    << 2U;
  put(last >> 6U);
  *to++ = kBase64Alphabet[last & 0x3FU];
  *to++ = '=';
  OPENSSL_cleanse(seed, kSeedBytes);
}

}  // namespace metatap
