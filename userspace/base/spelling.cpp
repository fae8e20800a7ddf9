// SPDX-License-Identifier: Apache-2.0
#include "base/spelling.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace metatap {
namespace {

/// Beyond so many letters two words have nothing to do with each other, short ones sooner.
constexpr std::size_t kMostApart = 3, kLettersEach = 3;

}  // namespace

std::size_t letters_apart(std::string_view one, std::string_view other) {
  // Rows of the table of distances between beginnings of the two words.
  std::vector<std::size_t> before_last(other.size() + 1), last(other.size() + 1);
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= one.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= other.size(); ++j) {
      const bool same = one[i - 1] == other[j - 1];
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
  }
  return row[other.size()];
}

std::optional<std::string> meant_word(std::string_view word, std::span<const std::string> words) {
  std::optional<std::string> nearest;
  std::size_t least = std::min(kMostApart, word.size() / kLettersEach) + 1;
  for (const auto& candidate : words) {
    if (const auto apart = letters_apart(word, candidate); apart < least) {
      least = apart;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace metatap
