// SPDX-License-Identifier: Apache-2.0
// The small parsers that everything else is made of: URLs, hosts, addresses, percent signs, UTF-8.
// What they take, they take again in the spelling they give it.
#include <string>

#include "agent/place.hpp"
#include "base/text.hpp"
#include "base/url.hpp"
#include "fuzz/fuzz.hpp"
#include "metatap/address.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header
using fuzz::require;

void addresses(std::string_view text) {
  if (const auto address = Address::parse(text)) {
    require(Address::parse(address->text()) == address);
    require(!address->unmapped().text().empty());
  }
  if (const auto prefix = Prefix::parse(text)) {
    require(Prefix::parse(prefix->text()) == prefix);
    require(prefix->contains(prefix->address) && prefix->contains(prefix->network()));
  }
  if (const auto mac = parse_mac(text)) {
    require(parse_mac(to_string(*mac)) == mac);
  }
  if (const auto locator = agent::Locator::of_address(text); locator && !locator->is_mac()) {
    require(agent::Locator::of_address(locator->str()) == locator);
  }
}

void urls(std::string_view text) {
  if (const auto url = Url::parse(text)) {
    require(!url->host.empty() && url->target.starts_with('/'));
    require(url->target.find('#') == std::string::npos);
    const auto again =
        Url::parse((url->tls ? "https://" : "http://") + url->authority + url->target);
    require(again && again->host == url->host && again->port == url->port);
    require(again->target == url->target && again->authority == url->authority);
  }
  static_cast<void>(is_host(text));
}

void codings(std::string_view text) {
  require(percent_decoded(percent_encoded(text)) == text);
  if (const auto plain = percent_decoded(text)) {
    require(percent_decoded(text, StrayPercent::keep) == plain);
  }
  require(base64_decoded(base64_encoded(text)) == text && is_base64(base64_encoded(text)));
  static_cast<void>(base64_decoded(text));
  auto rest = text;
  while (first_character(rest).bytes != 0) {
    require(first_character(rest).point <= 0x10ffff);
    rest.remove_prefix(first_character(rest).bytes);
  }
  require(is_utf8(text) == rest.empty());
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::as_text(data, size);
  addresses(text);
  urls(text);
  codings(text);
  return 0;
}
