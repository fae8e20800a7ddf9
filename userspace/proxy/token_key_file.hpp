// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/published.hpp"
#include "metatap/result.hpp"
#include "proxy/tokens.hpp"

namespace metatap::proxy {

/// The keys of tokens and the file in which they outlast this process. What others write there (the
/// worker that takes our place) is read at the next look. Where the file cannot be had the keys are
/// this process's own, and tokens end with it.
class TokenKeyFile {
 public:
  /// `file` empty: in memory alone. `boot`: what this boot of the host is called.
  TokenKeyFile(std::filesystem::path file, std::string boot);

  /// Never null, never without a key. Any thread.
  [[nodiscard]] std::shared_ptr<const TokenKeys> keys() const { return keys_.get(); }
  /// Reads and renews, every few seconds. An error is told when it is another than the last time.
  /// One thread.
  void look(std::int64_t now);

 private:
  Status read_or_renew(std::int64_t now);

  const std::filesystem::path file_;
  const std::string boot_;
  std::string told_;
  Published<TokenKeys> keys_;
};

}  // namespace metatap::proxy
