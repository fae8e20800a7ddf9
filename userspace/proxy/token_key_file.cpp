// SPDX-License-Identifier: Apache-2.0
#include "proxy/token_key_file.hpp"

#include <openssl/crypto.h>

#include <utility>

#include "base/key_file.hpp"
#include "base/log.hpp"

namespace metatap::proxy {

TokenKeyFile::TokenKeyFile(std::filesystem::path file, std::string boot)
    : file_(std::move(file)),
      boot_(std::move(boot)),
      keys_(std::make_shared<const TokenKeys>(boot_)) {}

void TokenKeyFile::look(std::int64_t now) {
  auto done = file_.empty() ? Status() : read_or_renew(now);
  const std::string problem = done ? "" : done.error().message;
  if (problem != std::exchange(told_, problem) && !problem.empty()) {
    log::error("tokens end with this process: {}", problem);
  }
  if (!keys()->old(now)) {
    return;
  }
  if (auto renewed = keys()->renewed(now)) {
    keys_.set(std::make_shared<const TokenKeys>(*std::move(renewed)));
  } else {
    log::error("{}", renewed.error().message);
  }
}

Status TokenKeyFile::read_or_renew(std::int64_t now) {
  auto bytes = read_key_file(file_);
  if (!bytes && bytes.error().code != ErrorCode::not_found) {
    return tl::make_unexpected(std::move(bytes.error()));
  }
  auto found = bytes ? TokenKeys::of(*bytes, boot_) : std::nullopt;
  if (bytes) {
    OPENSSL_cleanse(bytes->data(), bytes->size());
  }
  // Those of an earlier boot, or a file that is damaged, are as none.
  TokenKeys there = found ? *std::move(found) : TokenKeys(boot_);
  if (!there.old(now)) {
    keys_.set(std::make_shared<const TokenKeys>(std::move(there)));
    return {};
  }
  auto renewed = there.renewed(now);
  if (!renewed) {
    return tl::make_unexpected(std::move(renewed.error()));
  }
  auto text = renewed->bytes();
  auto written = replace_key_file(file_, text);
  OPENSSL_cleanse(text.data(), text.size());
  if (written) {
    keys_.set(std::make_shared<const TokenKeys>(*std::move(renewed)));
  }
  return written;
}

}  // namespace metatap::proxy
