// SPDX-License-Identifier: Apache-2.0
#include "http/plain_head.hpp"

#include <algorithm>
#include <cstdint>

#include "base/ascii.hpp"
#include "http/token.hpp"

namespace metatap::http {
namespace {

constexpr std::string_view kVersion = " HTTP/1.1\r\n";

constexpr bool is_printable(char c) {
  return c >= ' ' && c <= '~';
}

/// What a field means for the connection; none: it goes on; unknown: more than is read here.
enum class Meaning : std::uint8_t { none, close, unknown };

Meaning meaning_of(const Header& field) {
  const auto is = [&](std::string_view name) { return iequals(field.name, name); };
  switch (field.name.size()) {  // most names have another length than all of these
    case 6:
      return is("Expect") ? Meaning::unknown : Meaning::none;
    case 7:
      return is("Upgrade") ? Meaning::unknown : Meaning::none;
    case 10:
      return !is("Connection") || iequals(field.value, "keep-alive") ? Meaning::none
             : iequals(field.value, "close")                         ? Meaning::close
                                                                     : Meaning::unknown;
    case 14:
      return is("Content-Length") ? Meaning::unknown : Meaning::none;
    case 16:
      return is("Proxy-Connection") ? Meaning::unknown : Meaning::none;
    case 17:
      return is("Transfer-Encoding") ? Meaning::unknown : Meaning::none;
    default:
      return Meaning::none;
  }
}

/// Takes bytes from the front.
class Scanner {
 public:
  explicit Scanner(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] std::size_t left() const { return rest_.size(); }
  bool skip(std::string_view text) {
    const bool there = rest_.starts_with(text);
    if (there) {
      rest_.remove_prefix(text.size());
    }
    return there;
  }
  /// All bytes that are `such`.
  template <class Such>
  std::string_view take(Such such) {
    const auto end = std::ranges::find_if_not(rest_, such);
    const auto taken = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<PlainHead> read_plain_head(std::string_view bytes, std::size_t most_fields,
                                         std::vector<Header>& fields) {
  fields.clear();
  PlainHead head;
  Scanner in(bytes);
  head.method = in.take(is_token_byte);
  if ((head.method != "GET" && head.method != "HEAD") || !in.skip(" ")) {
    return std::nullopt;
  }
  head.target = in.take([](char c) { return c != ' ' && is_printable(c); });
  if (!head.target.starts_with('/') || !in.skip(kVersion)) {
    return std::nullopt;
  }
  while (!in.skip("\r\n")) {
    Header field{.name = in.take(is_token_byte), .value = {}};
    if (field.name.empty() || !in.skip(":") || fields.size() == most_fields) {
      return std::nullopt;
    }
    in.take([](char c) { return c == ' '; });
    field.value = in.take(is_printable);
    while (field.value.ends_with(' ')) {
      field.value.remove_suffix(1);
    }
    const auto meaning = meaning_of(field);
    if (meaning == Meaning::unknown || !in.skip("\r\n")) {
      return std::nullopt;
    }
    head.keep_alive = head.keep_alive && meaning != Meaning::close;
    fields.push_back(field);
  }
  head.size = bytes.size() - in.left();
  return head;
}

}  // namespace metatap::http
