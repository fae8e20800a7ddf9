// SPDX-License-Identifier: Apache-2.0
#include "inventory/content.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "inventory/fields.hpp"

namespace metatap::json {
namespace {

bool begins_as_text(std::string_view text) {
  constexpr std::array<std::string_view, 5> kBeginnings{"#", "{", "<",
                                                        "Content-Type:", "MIME-Version:"};
  return std::ranges::any_of(kBeginnings, [&](auto each) { return text.starts_with(each); });
}

Content of_bytes(std::string bytes) {
  auto base64 = base64_encoded(bytes);
  return {std::move(bytes), std::move(base64)};
}

Content of_base64(const Node& node) {
  auto base64 = base64_of(node);
  auto bytes = base64_decoded(base64).value_or("");
  return {std::move(bytes), std::move(base64)};
}

Content of_file(const Node& node) {
  const auto& open = node.reading().file;
  if (!open) {
    node.refuse(
        "a file is named only in the file of [inventory] file, or to 'metatap', which sends what "
        "is in it");
  }
  auto bytes = open(node.text());
  if (!bytes) {
    node.refuse(bytes.error().message);
  }
  return of_bytes(*std::move(bytes));
}

const Keys<Content>& content_keys() {
  static const Keys<Content> keys{
      {special<Content>("text", {Shape::Kind::text}, "The text itself",
                        [](const Node& at, Content& into) { into = of_bytes(at.text()); }),
       special<Content>("base64", {Shape::Kind::base64}, "The bytes in base64",
                        [](const Node& at, Content& into) { into = of_base64(at); }),
       special<Content>("file", {Shape::Kind::text},
                        "A file that has them; from the document's directory on",
                        [](const Node& at, Content& into) { into = of_file(at); })},
      {},
      [](const Node& node, Content&) {
        if (node.json().size() != 1) {
          node.refuse("expected one of \"text\", \"base64\" and \"file\"");
        }
      }};
  return keys;
}

}  // namespace

Content content_of(const Node& node) {
  if (node.json().is_object()) {
    Content content;
    read_object(node, content_keys(), content);
    return content;
  }
  node.expect(node.json().is_string(), "a string");
  if (begins_as_text(node.text())) {
    return of_bytes(node.text());
  }
  try {
    return of_base64(node);
  } catch (const Refused&) {
    node.refuse(
        "not base64, nor does it begin as user data does (#, {, <, Content-Type:, MIME-Version:); "
        "{\"text\": …}, {\"base64\": …} and {\"file\": …} say which it is");
  }
}

std::string text_content_of(const Node& node) {
  auto content = content_of(node);
  if (!is_utf8(content.bytes) || content.bytes.find('\0') != std::string::npos) {
    node.refuse("not a text in UTF-8");
  }
  return std::move(content.bytes);
}

}  // namespace metatap::json
