// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <vector>

/// What an Accept header says (RFC 9110 §12.5.1), read as WebOb reads it: that is what chose the
/// form of Nova's and Neutron's error pages.
namespace metatap::http {

/// One element of the header: text/html;level=1;q=0.5.
struct MediaRange {
  std::string_view type, subtype;
  bool with_parameters = false;  ///< others than the weight
  double quality = 1;
};

/// The ranges in their order. Empty: the header names none. nullopt: it is malformed, be it in one
/// element only.
[[nodiscard]] std::optional<std::vector<MediaRange>> parse_accept(std::string_view header);

/// How much a type without parameters is wanted, by the most specific range that matches it; of
/// equals the first decides. 0: not at all.
[[nodiscard]] double quality_of(const std::vector<MediaRange>& ranges, std::string_view type,
                                std::string_view subtype);

}  // namespace metatap::http
