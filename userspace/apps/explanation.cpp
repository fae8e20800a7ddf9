// SPDX-License-Identifier: Apache-2.0
#include "apps/explanation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/duration_text.hpp"

namespace metatap::apps {
namespace {

using admin::Json;

/// A stranger that was not seen for so long says nothing of now.
constexpr std::int64_t kRecently = 600;

std::string_view name_of(Explanation::Verdict verdict) {
  switch (verdict) {
    case Explanation::Verdict::good:
      return "ok";
    case Explanation::Verdict::note:
      return "note";
    case Explanation::Verdict::bad:
      break;
  }
  return "bad";
}

std::string advice_for_state(std::string_view state) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kAdvice{{
      {"disabled", "set admin_state_up of the port and its network to true"},
      {"absent",
       "start the guest on this host; if it runs, give its port the device's name (`ip -br link`) "
       "as `device` in the inventory"},
      {"excluded", "let [dataplane] devices match it"},
      {"refused", "correct the port's MAC or device in the inventory: this is another guest's"},
      {"conflict", "take the device away from one of the ports in the inventory"},
      {"elsewhere",
       "ask there; if it is this host by another name, say that name as [DEFAULT] host"},
      {"pending", "ask again in a moment"},
      {"error", "metatap doctor; the log says since when"},
  }};
  const auto* const found =
      std::ranges::find(kAdvice, state, &decltype(kAdvice)::value_type::first);
  return found == kAdvice.end() ? "metatap doctor" : std::string(found->second);
}

std::string text(const Json& object, const char* key) {
  return object.value(key, "");
}

/// "IPv4 SYN from 10.0.0.10"
std::string packet_text(const Json& packet) {
  return text(packet, "packet") + " from " + text(packet, "source");
}

std::string after(const Json& before) {
  std::string names;
  for (const auto& name : before) {
    names += (names.empty() ? "" : ", ") + name.get<std::string>();
  }
  return names;
}

void explain_packet(Explanation& explanation, const Json& packet) {
  const auto outcome = text(packet, "outcome");
  const auto reason = text(packet, "reason");
  auto what = packet_text(packet) + ": ";
  if (outcome == "steer") {
    const auto became = text(packet, "became");
    what += text(packet, "meaning") + " (" + reason + ")";
    if (!became.empty() && became != text(packet, "source") && reason.starts_with("steered")) {
      what += ", as " + became;
    }
    explanation.good("packet", std::move(what));
    return;
  }
  what += outcome == "drop" ? "dropped, " : "left to whoever else answers, ";
  explanation.bad("packet", what + reason + ": " + text(packet, "meaning"),
                  advice_for_reason(reason));
}

}  // namespace

bool Explanation::healthy() const {
  return std::ranges::none_of(stages_,
                              [](const Stage& one) { return one.verdict == Verdict::bad; });
}

Json Explanation::json() const {
  Json all{{"healthy", healthy()}, {"stages", Json::array()}};
  for (const auto& one : stages_) {
    all["stages"].push_back({{"stage", one.stage},
                             {"verdict", name_of(one.verdict)},
                             {"what", one.what},
                             {"advice", one.advice}});
    if (one.verdict == Verdict::bad && !all.contains("because")) {
      all["because"] = one.stage + ": " + one.what;
      all["advice"] = one.advice;
    }
  }
  return all;
}

void explain_device(Explanation& explanation, const Json& place) {
  const auto& device = place.at("device");
  const auto state = text(device, "state");
  const auto reason = text(device, "reason");
  auto what = text(device, "where") + ", " + text(device, "via") + ": " + state;
  if (const auto attach = text(device, "attach"); !attach.empty()) {
    what += " by " + attach;
  }
  if (!reason.empty()) {
    what += ": " + reason;
  }
  if (state != "steered") {
    explanation.bad("device", std::move(what), advice_for_state(state));
    return;
  }
  if (const auto before = device.value("before", Json::array()); !before.empty()) {
    explanation.note("device", std::move(what),
                     "should its requests time out, look at what is there first: " + after(before));
    return;
  }
  explanation.good("device", std::move(what));
}

void explain_packets_of(Explanation& explanation, const Json& place, std::int64_t now) {
  if (const auto problem = text(place, "problem"); !problem.empty()) {
    explanation.note("packet", "no dry run: " + problem);
  }
  for (const auto& packet : place.value("packets", Json::array())) {
    if (!packet.value("stranger", false)) {
      explain_packet(explanation, packet);
    }
  }
  for (const auto& seen : place.value("strangers", Json::array())) {
    const auto ago = std::max<std::int64_t>(0, now - seen.value("last_seen", now));
    auto source = text(seen, "source");
    auto what = "the guest asks from " + (source.empty() ? "an address" : source) + ", MAC " +
                text(seen, "mac") + ", last seen " + duration_text(ago) + " ago: refused as " +
                text(seen, "refused_as");
    auto advice = advice_for_reason(text(seen, "refused_as"));
    if (ago > kRecently) {
      explanation.note("address", std::move(what), std::move(advice));
    } else {
      explanation.bad("address", std::move(what), std::move(advice));
    }
  }
}

std::string advice_for_reason(std::string_view reason) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kAdvice{{
      {"spoofed_v4",
       "that is none of its port's addresses: renew the guest's lease, or give the port the "
       "address (fixed_ips, allowed_address_pairs, or address_policy = learn)"},
      {"spoofed_v6",
       "that is none of its port's addresses: give the port the address (fixed_ips, "
       "allowed_address_pairs, or address_policy = learn)"},
      {"wrong_mac",
       "that is none of its port's MACs: correct the port's mac_address, or mac_policy = any for a "
       "guest that bridges others"},
      {"no_listener", "nobody listens: metatap doctor says why"},
      {"refused_down", "nobody listens: metatap doctor says why"},
      {"syn_budget",
       "it opens too many connections: it is served again in a moment; [dataplane] syn_rate"},
      {"port_disabled", "set admin_state_up of the port and its network to true"},
      {"unknown_port", "the port has no identity on that device: metatap doctor"},
      {"addresses_full", "[dataplane] slots: there is no room for more addresses"},
  }};
  const auto* const found =
      std::ranges::find(kAdvice, reason, &decltype(kAdvice)::value_type::first);
  return found == kAdvice.end() ? "" : std::string(found->second);
}

StatusMeaning meaning_of(unsigned status) {
  switch (status) {
    case 400:
      return {"400: what it was asked is no good to it", "compare versions on both sides"};
    case 403:
      return {"403: it does not believe the signature",
              "metadata_proxy_shared_secret must be the same for agent and API"};
    case 404:
      return {"404: it knows no such instance",
              "put the instance into the inventory (metatap instance add), or correct the port's "
              "device_id"};
    case 502:
      return {"502: what answers there speaks no HTTP", "is something else at that address?"};
    case 503:
      return {"503: it has no answer now",
              "its own log and metatap status say why; guests try again"};
    case 504:
      return {"504: no answer in time", "it is overloaded, or hangs"};
    default:
      return {std::to_string(status), "its log says why"};
  }
}

}  // namespace metatap::apps
