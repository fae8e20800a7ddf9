// SPDX-License-Identifier: Apache-2.0
#include "http/accept.hpp"

#include <algorithm>
#include <charconv>

#include "base/ascii.hpp"
#include "base/text.hpp"
#include "http/token.hpp"

namespace metatap::http {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Goes through the header by RFC 9110's grammar. Each step takes what it is called after, and says
/// whether it was there; nothing but that has to be taken back.
class Reader {
 public:
  explicit Reader(std::string_view header) : rest_(header) {}

  std::optional<std::vector<MediaRange>> ranges() {
    std::vector<MediaRange> all;
    // A list may have empty elements, but WebOb takes none right before the first that is not.
    if (!rest_.empty() && !take(',') && !element(all)) {
      return std::nullopt;
    }
    while (!rest_.empty()) {
      blanks();
      if (!take(',')) {
        return std::nullopt;
      }
      blanks();
      if (!rest_.empty() && rest_.front() != ',' && !element(all)) {
        return std::nullopt;
      }
    }
    return all;
  }

 private:
  bool take(char c) {
    const bool there = rest_.starts_with(c);
    rest_.remove_prefix(there ? 1 : 0);
    return there;
  }
  void blanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(kBlanks), rest_.size())); }
  std::string_view token() {
    std::size_t size = 0;
    while (size < rest_.size() && is_token_byte(rest_[size])) {
      ++size;
    }
    const auto text = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return text;
  }
  bool quoted_string() {
    if (!take('"')) {
      return false;
    }
    while (!rest_.empty()) {
      const bool pair = take('\\');
      if (rest_.empty()) {
        break;
      }
      const auto c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"' && !pair) {
        return true;
      }
      if ((c >= 0 && c < ' ' && c != '\t') || c == 0x7f) {
        break;
      }
    }
    return false;
  }
  /// The semicolon before a parameter, with the blanks around it.
  bool separator() {
    const auto before = rest_;
    blanks();
    if (take(';')) {
      blanks();
      return true;
    }
    rest_ = before;
    return false;
  }
  bool value() { return !token().empty() || quoted_string(); }
  /// RFC 9110 §12.4.2: 0 to 1, with at most three digits behind the point.
  bool weight(double& quality) {
    const auto whole = rest_.substr(0, 1);
    if (whole != "0" && whole != "1") {
      return false;
    }
    std::size_t size = 1;
    if (rest_.substr(1).starts_with('.')) {
      ++size;
      while (size < rest_.size() && size < 5 &&
             (whole == "1" ? rest_[size] == '0' : is_digit(rest_[size]))) {
        ++size;
      }
    }
    std::from_chars(rest_.data(), rest_.data() + size, quality);
    rest_.remove_prefix(size);
    return true;
  }
  bool element(std::vector<MediaRange>& all) {
    MediaRange range;
    range.type = token();
    if (range.type.empty() || !take('/')) {
      return false;
    }
    range.subtype = token();
    if (range.subtype.empty()) {
      return false;
    }
    bool weighed = false;
    while (separator()) {
      const auto name = token();
      if (name.empty()) {
        return false;
      }
      if (!weighed && iequals(name, "q") && take('=')) {
        weighed = true;
        if (!weight(range.quality)) {
          return false;
        }
      } else if (take('=') ? !value() : !weighed) {
        return false;  // only what comes after the weight may do without a value
      } else if (!weighed) {
        range.with_parameters = true;
      }
    }
    all.push_back(range);
    return true;
  }

  std::string_view rest_;
};

}  // namespace

std::optional<std::vector<MediaRange>> parse_accept(std::string_view header) {
  return Reader(trimmed(header)).ranges();
}

double quality_of(const std::vector<MediaRange>& ranges, std::string_view type,
                  std::string_view subtype) {
  double quality = 0;
  int best = 0;
  for (const MediaRange& range : ranges) {
    const bool same_type = iequals(range.type, type);
    int specific = 0;
    if (same_type && iequals(range.subtype, subtype)) {
      specific = range.with_parameters ? 0 : 3;
    } else if (range.subtype == "*") {
      specific = same_type ? 2 : range.type == "*" ? 1 : 0;
    }
    if (specific > best) {
      best = specific;
      quality = range.quality;
    }
  }
  return quality;
}

}  // namespace metatap::http
