// SPDX-License-Identifier: Apache-2.0
#include "inventory/metatap_key.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace metatap {
namespace {

using namespace json;  // NOLINT: the words of the tables

template <class E>
using Words = std::vector<std::pair<std::string_view, E>>;

const Words<TokenMode>& token_words() {
  static const Words<TokenMode> words{{"off", TokenMode::off},
                                      {"optional", TokenMode::optional},
                                      {"required", TokenMode::required},
                                      {"ratchet", TokenMode::ratchet}};
  return words;
}
const Words<ForwardedInside>& forwarded_words() {
  static const Words<ForwardedInside> words{{"count", ForwardedInside::count},
                                            {"refuse", ForwardedInside::refuse},
                                            {"allow", ForwardedInside::allow}};
  return words;
}
const Words<WhenDown>& down_words() {
  static const Words<WhenDown> words{{"pass", WhenDown::pass}, {"refuse", WhenDown::refuse}};
  return words;
}

template <class E>
std::string_view word_for(E value, const Words<E>& words) {
  return std::ranges::find(words, value, &Words<E>::value_type::second)->first;
}

template <auto Member, class T>
Field<AccessPolicy> number(std::string_view name, int least, int most, std::string_view note) {
  Shape shape{Shape::Kind::integer};
  shape.least = least;
  shape.most = most;
  return field<Member>(name, std::move(shape), note, Need::optional, [least, most](const Node& at) {
    return static_cast<T>(at.integer(least, most));
  });
}

}  // namespace

const Keys<AccessPolicy>& access_keys() {
  using A = AccessPolicy;
  static const Keys<A> keys{
      {option<&A::tokens>("tokens", token_words(),
                          "Whether a request needs a session token; default: `[proxy] tokens`"),
       number<&A::boot_window, std::chrono::seconds>(
           "boot_window", 0, 365 * 86'400,
           "For so many seconds since it came it may ask as one that boots; default: `[proxy] "
           "boot_window`"),
       boolean<&A::sealed>("sealed", "false: the paths of `[proxy] sealed` are open to it"),
       texts<&A::read_once>("read_once",
                            "Patterns of paths that are answered once after it came; default: "
                            "`[proxy] read_once`"),
       option<&A::forwarded_inside>(
           "forwarded_inside", forwarded_words(),
           "What becomes of connections that were forwarded inside the guest; default: `[proxy] "
           "forwarded_inside`"),
       number<&A::syn_rate, std::uint16_t>(
           "syn_rate", 0, UINT16_MAX,
           "New connections a second; 0: no limit; default: `[dataplane] syn_rate`"),
       number<&A::connections, std::uint16_t>(
           "connections", 1, UINT16_MAX,
           "Open connections; default: `[proxy] max_connections_per_port`")},
      {},
      nullptr};
  return keys;
}

const Keys<PortTreatment>& treatment_keys() {
  static const Keys<PortTreatment> keys{
      {option<&PortTreatment::when_down>(
          "when_down", down_words(),
          "What becomes of the guest's requests while metatapd is down; default: `[dataplane] "
          "when_down`")},
      {},
      nullptr};
  return keys;
}

Json metatap_value(const AccessPolicy& access, const PortTreatment& treatment) {
  Json value = Json::object();
  if (access.tokens) {
    value["tokens"] = word_for(*access.tokens, token_words());
  }
  if (access.boot_window) {
    value["boot_window"] = access.boot_window->count();
  }
  if (access.sealed) {
    value["sealed"] = *access.sealed;
  }
  if (access.read_once) {
    value["read_once"] = *access.read_once;
  }
  if (access.forwarded_inside) {
    value["forwarded_inside"] = word_for(*access.forwarded_inside, forwarded_words());
  }
  if (access.syn_rate) {
    value["syn_rate"] = *access.syn_rate;
  }
  if (access.connections) {
    value["connections"] = *access.connections;
  }
  if (treatment.when_down) {
    value["when_down"] = word_for(*treatment.when_down, down_words());
  }
  return value;
}

}  // namespace metatap
