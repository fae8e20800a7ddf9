// SPDX-License-Identifier: Apache-2.0
// What guests say of changes: a target without what is asked of them is one that asks nothing more
// of them; and a list of tags names those that stand in it. The tag of a body is the same however
// the body is stored.
#include <memory>
#include <string>

#include "fuzz/fuzz.hpp"
#include "proxy/change_query.hpp"
#include "proxy/etag.hpp"

namespace {

using namespace metatap::proxy;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::Body;
using metatap::fuzz::require;

void query(std::string_view target) {
  const auto read = ChangeQuery::of(target);
  if (!read) {
    require(!read.error().empty());
    return;
  }
  if (!*read) {
    return;
  }
  const auto& asked = **read;
  require(asked.target.size() < target.size());
  require(target.starts_with(asked.target.substr(0, asked.target.find('?'))));
  const auto again = ChangeQuery::of(asked.target);
  require(again && !*again);
  require(!asked.timeout || asked.timeout->count() >= 0);
}

void tags(std::string_view list) {
  constexpr auto kTag = "\"0123456789abcdef\"";
  static_cast<void>(names_etag(list, kTag));
  require(names_etag(std::string(list) + ", " + kTag, kTag));
  require(names_etag(std::string("W/") + kTag + "," + std::string(list), kTag));
}

void bodies(std::string_view text) {
  const auto etag = etag_of(Body(std::string(text)));
  require(names_etag(etag, etag));
  const std::size_t cut = text.size() / 3, end = text.size() / 2;
  auto around = std::string(text.substr(0, cut)) + std::string(text.substr(end));
  const Body parts(std::make_shared<const std::string>(std::move(around)), cut,
                   std::string(text.substr(cut, end - cut)));
  require(etag_of(parts) == etag);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = metatap::fuzz::as_text(data, size);
  query(text);
  tags(text);
  bodies(text);
  return 0;
}
