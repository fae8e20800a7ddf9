// SPDX-License-Identifier: Apache-2.0
#include "importer/since.hpp"

#include <array>
#include <ctime>

namespace metatap::importer {

std::string since(std::optional<std::chrono::system_clock::time_point> began) {
  constexpr std::chrono::seconds kEarlier{60};
  const auto time = std::chrono::system_clock::to_time_t(
      began.value_or(std::chrono::system_clock::now()) - kEarlier);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), size};
}

}  // namespace metatap::importer
