// SPDX-License-Identifier: Apache-2.0
#include "inventory/fields.hpp"

#include "base/spelling.hpp"
#include "base/text.hpp"
#include "metatap/address.hpp"

namespace metatap::json {

void note_unknown(const Node& object, std::string_view key,
                  const std::vector<std::string_view>& known) {
  std::string reason = "unknown key " + in_quotes(key);
  if (const auto meant = meant_key(key, known); !meant.empty()) {
    reason += "; did you mean " + in_quotes(meant) + "?";
  }
  object.reading().mistakes.add(object.pointer_to(key), std::move(reason));
}

std::string id_of(const Node& node) {
  constexpr std::size_t kLongest = 36;
  const auto& text = node.text();
  const bool printable =
      std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
  if (text.empty() || text.size() > kLongest || !printable) {
    node.refuse(in_quotes(text) +
                " is not an id: 1 to 36 printable ASCII characters without blanks and slashes");
  }
  return text;
}

std::string address_of(const Node& node) {
  const auto address = Address::parse(node.text());
  if (!address) {
    const auto prefix = Prefix::parse(node.text());
    node.refuse(in_quotes(node.text()) + " is not an IP address" +
                (prefix ? "; " + prefix->address.text() + " may be meant" : ""));
  }
  return address->text();
}

std::string network_of(const Node& node) {
  const auto prefix = Prefix::parse(node.text());
  if (!prefix) {
    node.refuse(in_quotes(node.text()) + " is not a network in CIDR form");
  }
  return prefix->text();
}

std::string address_or_network_of(const Node& node) {
  return node.text().find('/') == std::string::npos ? address_of(node) : network_of(node);
}

int family_of(std::string_view address) {
  return address.find(':') == std::string_view::npos ? 4 : 6;
}

std::string mac_of(const Node& node) {
  const auto mac = parse_mac(node.text());
  if (!mac) {
    node.refuse(in_quotes(node.text()) + " is not a MAC address");
  }
  return to_string(*mac);
}

std::string base64_of(const Node& node) {
  std::string text = node.text();
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
  if (!is_base64(text)) {
    node.refuse("not base64");
  }
  return text;
}

std::string ec2_id_of(const Node& node, std::string_view prefix) {
  const std::string_view text = node.text();
  const auto digits = text.substr(std::min(prefix.size(), text.size()));
  const bool hex = std::ranges::all_of(
      digits, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!text.starts_with(prefix) || digits.size() < 8 || digits.size() > 17 || !hex) {
    node.refuse(in_quotes(text) + " is not " + std::string(prefix) + " and 8 hexadecimal digits");
  }
  return std::string(text);
}

std::string choice_of(const Node& node, const std::vector<std::string_view>& choices) {
  const auto& text = node.text();
  if (std::ranges::find(choices, text) == choices.end()) {
    std::string list;
    for (const auto choice : choices) {
      list += (list.empty() ? "" : ", ") + std::string(choice);
    }
    node.refuse(in_quotes(text) + " is none of " + list);
  }
  return text;
}

}  // namespace metatap::json
