// SPDX-License-Identifier: Apache-2.0
#include "ledger/chain.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <span>

#include "base/text.hpp"

namespace metatap::ledger {
namespace {

constexpr std::string_view kBeforeLink = R"(,"chain":")", kAfterLink = R"("})";

constexpr bool is_link(std::string_view text) {
  return text.size() == kNoLink.size() && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

std::string link_of(std::string_view before, std::string_view text) {
  std::string all;
  all.reserve(before.size() + text.size());
  all.append(before).append(text);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  ::EVP_Digest(all.data(), all.size(), digest.data(), &size, ::EVP_sha256(), nullptr);
  return hex_encoded(std::span(digest).first(size));
}

std::string next_line(ChainEnd& end, std::string_view entry) {
  ++end.record;
  std::string line = R"({"record":)" + std::to_string(end.record) + ",";
  line.append(entry.substr(1));
  end.link = link_of(end.link, line);
  line.pop_back();
  return line.append(kBeforeLink).append(end.link).append(kAfterLink).append("\n");
}

std::optional<LineParts> parts_of(std::string_view line) {
  const std::size_t tail = kBeforeLink.size() + kNoLink.size() + kAfterLink.size();
  if (line.size() <= tail || line.front() != '{') {
    return std::nullopt;
  }
  const auto text = line.substr(0, line.size() - tail);
  const auto rest = line.substr(text.size());
  const auto link = rest.substr(kBeforeLink.size(), kNoLink.size());
  if (!rest.starts_with(kBeforeLink) || !rest.ends_with(kAfterLink) || !is_link(link)) {
    return std::nullopt;
  }
  return LineParts{std::string(text) + "}", link};
}

}  // namespace metatap::ledger
