// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace metatap {

/// So many letters are to be put in, left out, replaced or exchanged with their neighbour to make
/// one word of the other.
[[nodiscard]] std::size_t letters_apart(std::string_view one, std::string_view other);

/// Which of the words was probably meant: the nearest, if it is near. Of equals the first.
[[nodiscard]] std::optional<std::string> meant_word(std::string_view word,
                                                    std::span<const std::string> words);

/// The same for a key of a document, where case and hyphens do not count, and one that is a whole
/// part of the other ("mac" of "mac_address") is near, too. Empty: none.
[[nodiscard]] std::string_view meant_key(std::string_view key,
                                         const std::vector<std::string_view>& known);

}  // namespace metatap
