// SPDX-License-Identifier: Apache-2.0
#include "inventory/access_policy.hpp"

#include <array>
#include <string_view>
#include <utility>

namespace metatap {
namespace {

template <class T, std::size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

constexpr Names<TokenMode, 4> kTokens{{{"off", TokenMode::off},
                                       {"optional", TokenMode::optional},
                                       {"required", TokenMode::required},
                                       {"ratchet", TokenMode::ratchet}}};
constexpr Names<ForwardedInside, 3> kForwarded{{{"count", ForwardedInside::count},
                                                {"refuse", ForwardedInside::refuse},
                                                {"allow", ForwardedInside::allow}}};

template <class T, std::size_t N>
T value_of(const json::Node& node, const Names<T, N>& names) {
  std::string list;
  for (const auto& [name, value] : names) {
    if (node.text() == name) {
      return value;
    }
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  node.refuse(json::in_quotes(node.text()) + " is none of " + list);
}

template <class T, std::size_t N>
std::string_view name_of(T wanted, const Names<T, N>& names) {
  for (const auto& [name, value] : names) {
    if (value == wanted) {
      return name;
    }
  }
  return {};
}

}  // namespace

AccessPolicy read_access(json::Object& metatap) {
  constexpr int kLongestWindow = 365 * 86'400;
  constexpr int kMost = UINT16_MAX;
  AccessPolicy policy;
  if (const auto tokens = metatap.find("tokens")) {
    policy.tokens = value_of(*tokens, kTokens);
  }
  if (const auto window = metatap.maybe_int("boot_window", 0, kLongestWindow)) {
    policy.boot_window = std::chrono::seconds(*window);
  }
  if (const auto sealed = metatap.find("sealed")) {
    policy.sealed = sealed->boolean();
  }
  if (const auto forwarded = metatap.find("forwarded_inside")) {
    policy.forwarded_inside = value_of(*forwarded, kForwarded);
  }
  if (const auto rate = metatap.maybe_int("syn_rate", 0, kMost)) {
    policy.syn_rate = static_cast<std::uint16_t>(*rate);
  }
  if (const auto connections = metatap.maybe_int("connections", 1, kMost)) {
    policy.connections = static_cast<std::uint16_t>(*connections);
  }
  return policy;
}

AccessPolicy read_access_of(json::Object& object) {
  const auto at = object.find("metatap");
  if (!at) {
    return {};
  }
  json::Object metatap(*at);
  auto policy = read_access(metatap);
  metatap.done();
  return policy;
}

void write_access(json::Json& metatap, const AccessPolicy& policy) {
  if (policy.tokens) {
    metatap["tokens"] = name_of(*policy.tokens, kTokens);
  }
  if (policy.boot_window) {
    metatap["boot_window"] = policy.boot_window->count();
  }
  if (policy.sealed) {
    metatap["sealed"] = *policy.sealed;
  }
  if (policy.forwarded_inside) {
    metatap["forwarded_inside"] = name_of(*policy.forwarded_inside, kForwarded);
  }
  if (policy.syn_rate) {
    metatap["syn_rate"] = *policy.syn_rate;
  }
  if (policy.connections) {
    metatap["connections"] = *policy.connections;
  }
}

}  // namespace metatap
