// SPDX-License-Identifier: Apache-2.0
#include "libvirt/meta_data.hpp"

#include <sstream>
#include <string>

#include "base/text.hpp"

namespace metatap::libvirt {
namespace {

/// Without a scalar's quotes.
std::string_view unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

/// Reads meta-data line by line.
class MetaData {
 public:
  explicit MetaData(GuestData& into) : into_(into) {}

  Status read(std::string_view line) {
    const auto text = trimmed(line, kWhiteSpace);
    if (text.empty() || text.front() == '#' || text == "---") {
      return {};
    }
    if (text.starts_with("- ") || text == "-") {
      if (!in_keys_) {
        return fail(ErrorCode::invalid, "a list of what?");
      }
      into_.ssh_keys.emplace_back(unquoted(trimmed(text.substr(1), kWhiteSpace)));
      return {};
    }
    const auto colon = text.find(':');
    if (colon == std::string_view::npos || line.front() == ' ' || line.front() == '\t' ||
        (colon + 1 < text.size() && text[colon + 1] != ' ')) {
      return fail(ErrorCode::invalid, "expected NAME: VALUE");
    }
    return take(text.substr(0, colon), unquoted(trimmed(text.substr(colon + 1), kWhiteSpace)));
  }

 private:
  Status take(std::string_view name, std::string_view value) {
    in_keys_ = name == "public-keys" && value.empty();
    if (in_keys_ || name == "instance-id") {
      return {};
    }
    if (value.empty() || value.front() == '[' || value.front() == '{' || value == "|") {
      return fail(ErrorCode::invalid, std::string(name) + ": expected a value on the same line");
    }
    if (name == "local-hostname" || name == "hostname") {
      into_.hostname = value;
    } else if (name == "public-keys") {
      into_.ssh_keys.emplace_back(value);
    } else {
      into_.metadata.emplace_back(name, value);
    }
    return {};
  }

  GuestData& into_;
  bool in_keys_ = false;
};

}  // namespace

Status read_meta_data(std::string_view text, GuestData& into) {
  MetaData reader(into);
  std::istringstream lines{std::string(text)};
  std::size_t number = 0;
  std::string mistakes;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (const auto read = reader.read(line); !read) {
      mistakes += (mistakes.empty() ? "line " : "; line ") + std::to_string(number) + ": " +
                  read.error().message;
    }
  }
  return mistakes.empty() ? Status() : fail(ErrorCode::invalid, std::move(mistakes));
}

}  // namespace metatap::libvirt
