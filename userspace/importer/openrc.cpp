// SPDX-License-Identifier: Apache-2.0
#include "importer/openrc.hpp"

#include <optional>

#include "base/text.hpp"

namespace metatap::importer {
namespace {

constexpr std::string_view kNames = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

/// One word of a shell's line, its quotes taken off.
struct Word {
  std::string text;
  bool computed = false;  ///< it has a $ or a `, which the shell would replace
};

/// Reads a word from the beginning of `rest`, which then begins behind it.
Word take_word(std::string_view& rest) {
  Word word;
  char quote = 0;
  std::size_t at = 0;
  for (; at < rest.size(); ++at) {
    const char c = rest[at];
    if (quote == 0 && (kWhiteSpace.find(c) != std::string_view::npos || c == ';')) {
      break;
    }
    if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && at + 1 < rest.size()) {
      // Between double quotes it stands for itself, except in front of these.
      const char next = rest[++at];
      if (quote == '"' && std::string_view("$`\"\\").find(next) == std::string_view::npos) {
        word.text += c;
      }
      word.text += next;
    } else {
      word.computed = word.computed || (quote != '\'' && (c == '$' || c == '`'));
      word.text += c;
    }
  }
  word.computed = word.computed || quote != 0;  // it goes on in the next line
  rest.remove_prefix(at);
  return word;
}

/// Takes "NAME=" of a variable of OpenStack's off the beginning.
std::optional<std::string> take_name(std::string_view& rest) {
  const auto end = rest.find_first_not_of(kNames);
  if (!rest.starts_with("OS_") || end == std::string_view::npos || rest[end] != '=') {
    return std::nullopt;
  }
  std::string name(rest.substr(0, end));
  rest.remove_prefix(end + 1);
  return name;
}

bool take(std::string_view& rest, std::string_view word) {
  if (!rest.starts_with(word)) {
    return false;
  }
  rest = trimmed(rest.substr(word.size()), kWhiteSpace);
  return true;
}

void read_line(std::string_view line, std::size_t number, Openrc& into) {
  auto rest = trimmed(line, kWhiteSpace);
  if (take(rest, "unset ")) {
    while (!rest.empty() && rest.front() != ';') {
      const auto name = take_word(rest).text;
      into.set.erase(name);
      into.computed.erase(name);
      into.unset.insert(name);
      rest = trimmed(rest, kWhiteSpace);
    }
    return;
  }
  take(rest, "export ");
  while (const auto name = take_name(rest)) {
    auto word = take_word(rest);
    rest = trimmed(rest, kWhiteSpace);
    into.unset.erase(*name);
    if (word.computed) {
      into.set.erase(*name);
      into.computed.insert_or_assign(*name, number);
    } else {
      into.computed.erase(*name);
      into.set.insert_or_assign(*name, std::move(word.text));
    }
  }
}

}  // namespace

Openrc read_openrc(std::string_view text) {
  Openrc read;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    read_line(text.substr(0, end), number, read);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return read;
}

}  // namespace metatap::importer
