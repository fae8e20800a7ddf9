// SPDX-License-Identifier: Apache-2.0
#include "agent/signer.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <mutex>

namespace metatap::agent {
namespace {

constexpr std::size_t kMostPerShard = 8192;

std::string hex_hmac(std::string_view key, std::string_view message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), digest.data(),
       &size);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(std::size_t{size} * 2);
  for (unsigned at = 0; at < size; ++at) {
    text += kDigits[digest[at] >> 4];
    text += kDigits[digest[at] & 0xf];
  }
  return text;
}

}  // namespace

Result<Signer> Signer::with(std::string secret) {
  if (secret.empty()) {
    return fail(ErrorCode::invalid,
                "metadata_proxy_shared_secret is empty: anyone who reaches the metadata API could "
                "sign as any instance; set the same secret here and in the API's configuration");
  }
  return Signer(std::move(secret));
}

Signer::~Signer() {
  OPENSSL_cleanse(secret_.data(), secret_.size());
}

std::string Signer::sign(std::string_view instance_id) const {
  auto& shard = shards_[Hash()(instance_id) % shards_.size()];
  {
    const std::shared_lock lock(shard.mutex);
    if (const auto found = shard.signatures.find(instance_id); found != shard.signatures.end()) {
      return found->second;
    }
  }
  auto signature = hex_hmac(secret_, instance_id);
  const std::unique_lock lock(shard.mutex);
  if (shard.signatures.size() >= kMostPerShard) {
    shard.signatures.clear();
  }
  shard.signatures.insert_or_assign(std::string(instance_id), signature);
  return signature;
}

}  // namespace metatap::agent
