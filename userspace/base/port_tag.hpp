// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/config.hpp"
#include "base/hmac.hpp"
#include "metatap/directory.hpp"
#include "metatap/result.hpp"

/// The port tag: how our proxy tells our agent, in another process, which port a request came from.
/// What else may reach the agent's socket (Neutron's haproxy passes on whatever a guest sends) does
/// not have the key.
namespace metatap {

inline constexpr std::string_view kPortIdHeader = "X-Metatap-Port-ID";
/// HMAC-SHA256, lower-case hex, of the port, the network or router and the address that the same
/// request names.
inline constexpr std::string_view kPortSignatureHeader = "X-Metatap-Port-Signature";

struct PortTagOptions {
  std::string key;                 ///< [DEFAULT] port_tag_key; empty: the file's
  std::filesystem::path key_file;  ///< $run_path/port_tag.key

  /// Refuses a key of fewer than 32 characters.
  static Result<PortTagOptions> from(const Config& config);
};

/// The key that proxy and agent share. Thread-safe.
class PortTagKey {
 public:
  /// `bytes`: at least one.
  explicit PortTagKey(std::string bytes) : key_(std::move(bytes)) {}

  /// The configured key, else the key file's, which is made where there is none.
  static Result<PortTagKey> open(const PortTagOptions& options);
  /// What open() would say to what is there now.
  static Status check(const PortTagOptions& options);

  [[nodiscard]] Signature sign(const DirectoryQuery& tag) const;
  /// Whether the signature is ours; takes the same time for every wrong one.
  [[nodiscard]] bool signed_by_us(const DirectoryQuery& tag, std::string_view signature) const {
    return same_signature(signature, sign(tag));
  }

 private:
  SigningKey key_;
};

}  // namespace metatap
