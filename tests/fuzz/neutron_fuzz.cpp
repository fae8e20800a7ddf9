// SPDX-License-Identifier: Apache-2.0
// What Keystone and Neutron answer: refused, or what can be worked with; and nobody gets an
// identity out of it but by the port that was asked for.
#include <string>

#include "agent/neutron_answers.hpp"
#include "base/json_text.hpp"
#include "fuzz/fuzz.hpp"
#include "openstack/answers.hpp"

namespace {

using namespace metatap::agent;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::text_of;
using metatap::fuzz::require;

void tokens(std::string_view body) {
  const auto token = metatap::openstack::read_sign_in(body);
  if (!token) {
    return;
  }
  static_cast<void>(metatap::openstack::endpoint_in(token->catalog, "network",
                                                    {"internal", "public"}, "RegionOne"));
  // As long as it is good, it can be compared with now and half of it be taken.
  const auto now = std::chrono::system_clock::now();
  const auto expires = token->expires.value_or(now);
  require(expires.time_since_epoch() >= std::chrono::seconds(0));
  require(now + (expires - now) / 2 >= std::min(now, expires));
}

void ports(std::string_view body) {
  const auto page = metatap::openstack::read_page<nlohmann::json>(body, "ports", "Neutron");
  if (!page) {
    return;
  }
  const PortQuestion by_id{.port_id = "port-1", .network_id = {}, .router_id = {}, .locator = {}};
  if (const auto port = port_in(page->items, by_id, {})) {
    require(page->items.size() == 1 && text_of(page->items[0], "id") == "port-1");
    require(!port->device_id.empty());
  }
  for (const auto* address : {"10.0.0.5", "fe80::f816:3eff:fe00:1"}) {
    const PortQuestion by_address{.port_id = {},
                                  .network_id = "net-1",
                                  .router_id = {},
                                  .locator = Locator::of_address(address)};
    if (port_in(page->items, by_address, {"net-1"})) {
      require(page->items.size() == 1 && text_of(page->items[0], "network_id") == "net-1");
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto body = metatap::fuzz::as_text(data, size);
  tokens(body);
  ports(body);
  return 0;
}
