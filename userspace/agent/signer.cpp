// SPDX-License-Identifier: Apache-2.0
#include "agent/signer.hpp"

#include <openssl/crypto.h>

#include <mutex>

#include "base/hmac.hpp"
#include "base/shared_secret.hpp"

namespace metatap::agent {
namespace {

constexpr std::size_t kMostSignatures = 8192;

}  // namespace

Result<Signer> Signer::with(std::string secret) {
  if (const auto fault = fault_of_secret(secret); !fault.empty()) {
    return fail(ErrorCode::invalid, "metadata_proxy_shared_secret " + std::string(fault));
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
  const Signature computed = metatap::sign(secret_, instance_id);
  std::string signature(computed.begin(), computed.end());
  const std::unique_lock lock(shard.mutex);
  if (shard.signatures.size() >= kMostSignatures) {
    shard.signatures.clear();
  }
  shard.signatures.insert_or_assign(std::string(instance_id), signature);
  return signature;
}

}  // namespace metatap::agent
