// SPDX-License-Identifier: Apache-2.0
#include "proxy/etag.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "base/random_seed.hpp"
#include "base/text.hpp"

namespace metatap::proxy {
namespace {

constexpr std::string_view kSeedMember = "\"random_seed\": \"";

/// What stands before the seed and behind it. A string of a guest's own that looks like the member
/// has its quotes escaped, and a member that is so called elsewhere is not so long.
struct AroundSeed {
  std::string_view before, behind;
};

AroundSeed around_seed(std::string_view text) {
  for (std::size_t from = 0; text.size() - from > kSeedMember.size() + kSeedText;) {
    const auto* const found = static_cast<const char*>(
        ::memmem(text.data() + from, text.size() - from, kSeedMember.data(), kSeedMember.size()));
    if (found == nullptr) {
      break;
    }
    const std::size_t begin = static_cast<std::size_t>(found - text.data()) + kSeedMember.size();
    const std::string_view seed = text.substr(begin, kSeedText);
    const auto behind = text.substr(begin + seed.size());
    if (behind.starts_with('"') && is_base64(seed)) {
      return {text.substr(0, begin), behind};
    }
    from = begin;
  }
  return {text, {}};
}

/// In one piece; `room` is where it is put together.
std::string_view whole(const Body& body, std::string& room) {
  const auto parts = body.segments();
  for (const auto part : parts) {
    if (part.size() == body.size()) {
      return part;
    }
  }
  room.clear();
  for (const auto part : parts) {
    room += part;
  }
  return room;
}

/// Without what does not count when tags are compared.
std::string_view opaque(std::string_view etag) {
  if (etag.starts_with("W/")) {
    etag.remove_prefix(2);
  }
  return trimmed(etag, "\"");
}

}  // namespace

std::string etag_of(const Body& body) {
  static thread_local std::string room;
  const auto text = whole(body, room);
  const auto [before, behind] = text.starts_with('{') ? around_seed(text) : AroundSeed{text, {}};
  std::uint64_t hash = XXH3_64bits(before.data(), before.size());
  if (!behind.empty()) {
    hash = XXH3_64bits_withSeed(behind.data(), behind.size(), hash);
  }
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string etag(behind.empty() ? "\"" : "W/\"");
  for (int shift = 60; shift >= 0; shift -= 4) {
    etag += kDigits[(hash >> static_cast<unsigned>(shift)) & 0xfU];
  }
  etag += '"';
  return etag;
}

bool names_etag(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto one = trimmed(list.substr(0, comma));
    if (one == "*" || (!one.empty() && opaque(one) == opaque(etag))) {
      return true;
    }
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return false;
}

}  // namespace metatap::proxy
