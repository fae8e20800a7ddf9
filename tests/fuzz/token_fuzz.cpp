// SPDX-License-Identifier: Apache-2.0
// What guests show as tokens, and a file of keys: nothing opens but what was sealed, for him for
// whom it was sealed; and keys that are taken seal what they open.
#include <array>
#include <string>

#include "base/text.hpp"
#include "fuzz/fuzz.hpp"
#include "proxy/tokens.hpp"

namespace {

using namespace metatap::proxy;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::fuzz::require;

constexpr std::int64_t kNow = 1'000'000, kExpires = kNow + 60'000;
constexpr auto kBoot = "6f1b7c1e-7d0e-4f53-8c56-0a8b0f2d9a01";

const TokenHolder& holder() {
  static const TokenHolder one{"port-1", 7, 9};
  return one;
}

/// Any text, and what becomes of a good token when these bytes are laid over its own.
void tokens(std::string_view text) {
  static const auto keys = TokenKeys(kBoot).renewed(0).value();
  static const auto good = keys.seal(holder(), kExpires, kNow).value();
  require(!keys.opens(text, holder(), kNow));
  auto bytes = metatap::base64_decoded(good).value();
  bool changed = text.size() > bytes.size();
  for (std::size_t at = 0; at < std::min(text.size(), bytes.size()); ++at) {
    bytes[at] = static_cast<char>(bytes[at] ^ text[at]);
    changed = changed || text[at] != 0;
  }
  bytes += text.substr(std::min(text.size(), bytes.size()));
  require(keys.opens(metatap::base64_encoded(bytes), holder(), kNow) == !changed);
}

/// A token of a port of that name is its own alone, however the two are spelt.
void holders(std::string_view name) {
  static const auto keys = TokenKeys(kBoot).renewed(0).value();
  TokenHolder other{std::string(name), 7, 9};
  const auto token = keys.seal(other, kExpires, kNow).value();
  require(keys.opens(token, other, kNow) && !keys.opens(token, other, kExpires));
  require(keys.opens(token, holder(), kNow) == (name == holder().port));
  ++other.plug;
  require(!keys.opens(token, other, kNow));
}

void key_file(std::string_view bytes) {
  for (const auto& whole : {std::string(bytes), TokenKeys(kBoot).bytes() + std::string(bytes)}) {
    const auto keys = TokenKeys::of(whole, kBoot);
    if (!keys) {
      continue;
    }
    require(keys->bytes() == whole);
    if (const auto token = keys->seal(holder(), kExpires, kNow)) {
      static_cast<void>(keys->opens(*token, holder(), kNow));
    }
    static_cast<void>(keys->old(kNow));
    static_cast<void>(keys->renewed(kNow));
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = metatap::fuzz::as_text(data, size);
  tokens(text);
  holders(text);
  key_file(text);
  return 0;
}
