// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <ranges>
#include <utility>

#include "base/text.hpp"

namespace metatap::proxy {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr std::int64_t in_ms(auto duration) {
  return duration_cast<milliseconds>(duration).count();
}

constexpr std::string_view kMagic = "metatap-token-keys/1\n";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kKeyRecord = sizeof(std::uint32_t) + sizeof(std::int64_t) + 32;
constexpr std::size_t kMostKeys = 16;

/// A token's bytes, before base64: the head is readable, `expires` is not.
struct [[gnu::packed]] Sealed {
  std::uint8_t version;
  std::uint32_t key;
  std::array<unsigned char, 12> nonce;
  std::array<unsigned char, 8> expires;
  std::array<unsigned char, 16> tag;
};
constexpr std::size_t kHead = offsetof(Sealed, expires);
static_assert(sizeof(Sealed) == 41);
constexpr std::size_t kText = (sizeof(Sealed) + 2) / 3 * 4;  // as base64

template <class T>
void append(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// One thread's cipher.
EVP_CIPHER_CTX* cipher() {
  thread_local const std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)> mine{
      EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free};
  return mine.get();
}

enum class Direction : int { open = 0, seal = 1 };

/// `sealed.expires` from plain to encrypted, with its tag, or back. False: the tag is not right, or
/// OpenSSL would not.
bool run(Direction direction, const TokenKey& key, std::string_view bound_to, Sealed& sealed) {
  EVP_CIPHER_CTX* const context = cipher();
  int size = 0;
  const auto* head = reinterpret_cast<const unsigned char*>(&sealed);
  const auto* bound = reinterpret_cast<const unsigned char*>(bound_to.data());
  const int seals = static_cast<int>(direction);
  auto* expires = sealed.expires.data();
  return context != nullptr &&
         EVP_CipherInit_ex(context, EVP_aes_256_gcm(), nullptr, key.bytes.data(),
                           sealed.nonce.data(), seals) == 1 &&
         EVP_CipherUpdate(context, nullptr, &size, head, kHead) == 1 &&
         EVP_CipherUpdate(context, nullptr, &size, bound, static_cast<int>(bound_to.size())) == 1 &&
         EVP_CipherUpdate(context, expires, &size, expires,
                          static_cast<int>(sealed.expires.size())) == 1 &&
         (direction == Direction::seal ||
          EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, static_cast<int>(sealed.tag.size()),
                              sealed.tag.data()) == 1) &&
         EVP_CipherFinal_ex(context, expires, &size) == 1 &&
         (direction == Direction::open ||
          EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, static_cast<int>(sealed.tag.size()),
                              sealed.tag.data()) == 1);
}

/// nullopt: not the one spelling that a token of ours has.
std::optional<Sealed> parse(std::string_view token) {
  if (token.size() != kText) {
    return std::nullopt;
  }
  const auto bytes = base64_decoded(token);
  if (!bytes || bytes->size() != sizeof(Sealed) || base64_encoded(*bytes) != token) {
    return std::nullopt;
  }
  Sealed sealed;
  std::memcpy(&sealed, bytes->data(), sizeof(sealed));
  return sealed.version == kVersion ? std::optional(sealed) : std::nullopt;
}

}  // namespace

/// With room for all there may be: no copy of a key is left behind by a vector that grew.
TokenKeys::TokenKeys(std::string boot) : boot_(std::move(boot)) {
  keys_.reserve(kMostKeys);
}

TokenKeys::~TokenKeys() {
  for (auto& key : keys_) {
    OPENSSL_cleanse(key.bytes.data(), key.bytes.size());
  }
}

std::optional<TokenKeys> TokenKeys::of(std::string_view bytes, std::string boot) {
  const std::string head = std::string(kMagic) + boot + '\n';
  if (!bytes.starts_with(head)) {
    return std::nullopt;
  }
  bytes.remove_prefix(head.size());
  if (bytes.empty() || bytes.size() % kKeyRecord != 0 || bytes.size() / kKeyRecord > kMostKeys) {
    return std::nullopt;
  }
  TokenKeys keys(std::move(boot));
  for (; !bytes.empty(); bytes.remove_prefix(kKeyRecord)) {
    TokenKey& key = keys.keys_.emplace_back();
    const char* at = bytes.data();
    std::memcpy(&key.number, at, sizeof(key.number));
    std::memcpy(&key.made, at + sizeof(key.number), sizeof(key.made));
    std::memcpy(key.bytes.data(), at + sizeof(key.number) + sizeof(key.made), key.bytes.size());
  }
  return keys;
}

std::string TokenKeys::bytes() const {
  std::string out = std::string(kMagic) + boot_ + '\n';
  for (const auto& key : keys_) {
    append(out, key.number);
    append(out, key.made);
    append(out, key.bytes);
  }
  return out;
}

/// When a key was made is said by a file, and may be any number: it is compared, never calculated
/// with.
bool TokenKeys::old(std::int64_t now) const {
  return keys_.empty() || keys_.back().made <= now - in_ms(kRenewed);
}

Result<TokenKeys> TokenKeys::renewed(std::int64_t now) const {
  TokenKeys next(boot_);
  for (std::size_t at = 0; at < keys_.size(); ++at) {
    // A key seals until its successor is known, and what it sealed last is good for so long.
    const bool done = at + 1 < keys_.size() &&
                      keys_[at + 1].made < now - in_ms(kKnownBefore) - in_ms(kLongestToken);
    if (!done && keys_.size() - at < kMostKeys) {
      next.keys_.push_back(keys_[at]);
    }
  }
  TokenKey key{keys_.empty() ? 1 : keys_.back().number + 1, now, {}};
  if (RAND_bytes(key.bytes.data(), static_cast<int>(key.bytes.size())) != 1) {
    return fail(ErrorCode::internal, "make a key of tokens: no random bytes");
  }
  next.keys_.push_back(key);
  OPENSSL_cleanse(key.bytes.data(), key.bytes.size());
  return next;
}

/// The newest that everybody knows.
const TokenKey* TokenKeys::sealing_key(std::int64_t now) const {
  for (const auto& key : std::views::reverse(keys_)) {
    if (&key == &keys_.front() || key.made <= now - in_ms(kKnownBefore)) {
      return &key;
    }
  }
  return nullptr;
}

/// What is not in the token and must be the same where it is opened. Each text with its length in
/// front.
std::string TokenKeys::bound_to(const TokenHolder& holder) const {
  std::string text = "metatap-token/1";
  for (const std::string_view part : {std::string_view(boot_), std::string_view(holder.port)}) {
    append(text, static_cast<std::uint32_t>(part.size()));
    text += part;
  }
  append(text, holder.plug);
  append(text, holder.tenant);
  return text;
}

Result<std::string> TokenKeys::seal(const TokenHolder& holder, std::int64_t expires,
                                    std::int64_t now) const {
  const TokenKey* const key = sealing_key(now);
  Sealed sealed{kVersion, key == nullptr ? 0 : key->number, {}, {}, {}};
  std::memcpy(sealed.expires.data(), &expires, sizeof(expires));
  if (key == nullptr ||
      RAND_bytes(sealed.nonce.data(), static_cast<int>(sealed.nonce.size())) != 1 ||
      !run(Direction::seal, *key, bound_to(holder), sealed)) {
    return fail(ErrorCode::internal, "OpenSSL seals no token");
  }
  return base64_encoded({reinterpret_cast<const char*>(&sealed), sizeof(sealed)});
}

bool TokenKeys::opens(std::string_view token, const TokenHolder& holder, std::int64_t now) const {
  auto sealed = parse(token);
  if (!sealed) {
    return false;
  }
  const std::uint32_t number = sealed->key;
  const auto key = std::ranges::find(keys_, number, &TokenKey::number);
  if (key == keys_.end() || !run(Direction::open, *key, bound_to(holder), *sealed)) {
    return false;
  }
  std::int64_t expires = 0;
  std::memcpy(&expires, sealed->expires.data(), sizeof(expires));
  return now < expires;
}

}  // namespace metatap::proxy
