// SPDX-License-Identifier: Apache-2.0
#include "metatap/exchange.hpp"

#include <algorithm>

#include "base/ascii.hpp"

namespace metatap {

std::optional<std::string_view> Request::header(std::string_view name) const {
  const auto found =
      std::ranges::find_if(headers, [&](const Header& h) { return iequals(h.name, name); });
  if (found == headers.end()) {
    return std::nullopt;
  }
  return found->value;
}

std::size_t Request::count(std::string_view name) const {
  return static_cast<std::size_t>(
      std::ranges::count_if(headers, [&](const Header& h) { return iequals(h.name, name); }));
}

}  // namespace metatap
