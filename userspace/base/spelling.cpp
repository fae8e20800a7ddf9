// SPDX-License-Identifier: Apache-2.0
#include "base/spelling.hpp"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <vector>

namespace metatap {
namespace {

/// Beyond so many letters two words have nothing to do with each other, short ones sooner.
constexpr std::size_t kMostApart = 3, kLettersEach = 3;
constexpr std::size_t kLongestKey = 64;  // what is longer is no misspelling

std::string plain_key(std::string_view key) {
  std::string text(key);
  std::ranges::transform(text, text.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::tolower(c));
  });
  return text;
}

/// Whether `part` is `whole` from one of its underscores to another.
bool is_part(std::string_view part, std::string_view whole) {
  const auto at = whole.find(part);
  return part.size() >= 2 && at != std::string_view::npos && (at == 0 || whole[at - 1] == '_') &&
         (at + part.size() == whole.size() || whole[at + part.size()] == '_');
}

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

std::string_view meant_key(std::string_view key, const std::vector<std::string_view>& known) {
  if (key.size() > kLongestKey) {
    return {};
  }
  std::vector<std::string> words(known.size());
  std::ranges::transform(known, words.begin(), plain_key);
  const auto word = plain_key(key);
  auto found = words.end();
  if (const auto near = meant_word(word, words)) {
    found = std::ranges::find(words, *near);
  } else {
    found = std::ranges::find_if(words, [&](const auto& candidate) {
      return is_part(word, candidate) || is_part(candidate, word);
    });
  }
  return found == words.end() ? std::string_view()
                              : known[static_cast<std::size_t>(found - words.begin())];
}

}  // namespace metatap
