// SPDX-License-Identifier: Apache-2.0
#include "apps/data_plane_findings.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

#include "base/duration_text.hpp"
#include "dataplane/old_path.hpp"

namespace metatap::apps {
namespace {

using admin::Finding;
using Severity = admin::Finding::Severity;
using dataplane::DeviceState;
using Time = std::chrono::system_clock::time_point;

constexpr auto kFirstAdvice =
    "a program that is first should pass on what is not its own (TCX_NEXT, TC_ACT_UNSPEC)";
/// What was so long ago is not told any more.
constexpr std::chrono::minutes kLately{10};
/// And so long ago not beside "ok".
constexpr std::chrono::minutes kOfNow{1};
/// Of many of one kind so many are named.
constexpr std::size_t kNamedOfEach = 10;

bool is_recent(Time time) {
  return time != Time() && std::chrono::system_clock::now() - time < kLately;
}

std::string ago(Time time) {
  const auto passed = std::chrono::system_clock::now() - time;
  return duration_text(std::chrono::duration_cast<std::chrono::seconds>(passed).count()) + " ago";
}

/// Of many alike only the first are told one by one.
class Many {
 public:
  Many(std::vector<Finding>& all, Severity severity, std::string what, std::string advice)
      : all_(all), severity_(severity), what_(std::move(what)), advice_(std::move(advice)) {}
  ~Many() {
    if (count_ > kNamedOfEach) {
      all_.push_back({severity_, "ports",
                      std::to_string(count_ - kNamedOfEach) + " more " + what_ + "; metatap ports",
                      ""});
    }
  }
  Many(const Many&) = delete;
  Many& operator=(const Many&) = delete;
  void add(std::string subject, std::string message) {
    if (++count_ <= kNamedOfEach) {
      all_.push_back({severity_, std::move(subject), std::move(message), advice_});
    }
  }

 private:
  std::vector<Finding>& all_;
  const Severity severity_;
  const std::string what_, advice_;
  std::size_t count_ = 0;
};

/// The way in and out that all taps share.
void look_at_namespace(const dataplane::TapDataPlane& tap, std::vector<Finding>& findings) {
  const auto& health = tap.namespace_health();
  if (!health.problem.empty()) {
    findings.push_back({Severity::error, "metadata namespace", health.problem,
                        "it is tried again each second; the log says why it fails"});
  } else if (is_recent(health.repaired)) {
    findings.push_back({Severity::warning, "metadata namespace",
                        ago(health.repaired) + ": " + health.last_repair + ": put right",
                        "find out who changes it"});
  }
  for (const auto& [family, answer] : tap.probe().answers()) {
    const std::string subject = family == AF_INET ? "self-probe IPv4" : "self-probe IPv6";
    if (!answer.good) {
      findings.push_back({Severity::error, subject,
                          "our own connection into the metadata namespace is not answered",
                          "what is wrong there is said above, if it was found: a program on the "
                          "pair, a rule or a filter in the namespace",
                          answer.since});
    } else if (answer.answered != Time()) {
      findings.push_back({Severity::ok, subject, "answered " + ago(answer.answered), ""});
    }
  }
}

void look_at_devices(const dataplane::TapDataPlane& tap, std::vector<Finding>& findings) {
  const auto bindings = tap.bindings();
  // Where none is bound here, that is more likely a name that is spelt in two ways.
  const auto doubt = bindings.here == 0 ? Severity::warning : Severity::note;
  Many elsewhere(findings, doubt, "devices of that name are other hosts' ports'",
                 "let [DEFAULT] host be as ports have it in binding:host_id, if this is that host");
  Many room(findings, Severity::warning, "ports with more addresses than there is room for",
            "give the port fewer fixed_ips and address pairs, or a prefix as one pair");
  std::size_t absent = 0, unclaimed = 0;
  std::string first_absent, first_unclaimed;
  for (const auto& device : tap.devices()) {
    const auto port = "port " + device.port_id + ": ";
    switch (device.state) {
      case DeviceState::failed:
        findings.push_back({Severity::error, device.name, port + device.reason,
                            "it is tried again; metatap ports says how it is now"});
        break;
      case DeviceState::refused:
        findings.push_back({Severity::warning, device.name, port + device.reason,
                            "the inventory's device name or MAC is an old one"});
        break;
      case DeviceState::conflict:
      case DeviceState::excluded:
        findings.push_back({Severity::warning, device.name, port + device.reason,
                            "metatap explain " + device.port_id});
        break;
      case DeviceState::elsewhere:
        elsewhere.add(device.name, port + device.reason);
        break;
      case DeviceState::absent:
        first_absent = absent++ == 0 ? device.name : first_absent;
        break;
      case DeviceState::unclaimed:
        first_unclaimed = unclaimed++ == 0 ? device.name : first_unclaimed;
        break;
      case DeviceState::steered:
        if (!device.reason.empty() && device.before.empty()) {
          room.add(device.name, port + device.reason);
        }
        break;
      default:
        break;
    }
  }
  if (unclaimed != 0) {
    findings.push_back(
        {Severity::note, "devices",
         std::to_string(unclaimed) + " devices of ours are no port's, such as " + first_unclaimed +
             ": requests of their guests wait for one and are answered 503",
         "metatap status names them; the inventory should have their ports, or [dataplane] devices "
         "leave them out"});
  }
  if (absent != 0) {
    findings.push_back(
        {Severity::note, "ports",
         std::to_string(absent) + " have no device here, the first is " + first_absent,
         "as it should be if they are other hosts' or do not run"});
  }
  if (bindings.elsewhere != 0) {
    findings.push_back({Severity::note, "ports",
                        std::to_string(bindings.elsewhere) +
                            " are bound to other hosts and left out; this is '" + bindings.host +
                            "', to which " + std::to_string(bindings.here) + " are bound",
                        "metatap explain PORT says of each where it is bound to"});
  }
  for (const auto& [port, device] : tap.renamed()) {
    findings.push_back({Severity::warning, device,
                        "it has the MAC of port " + port + ", whose device has another name",
                        "give the port that name as `device` in the inventory"});
  }
}

/// Of taps, or of devices in namespaces.
template <class DataPlane>
void look_at_chains(const DataPlane& data_plane, std::vector<Finding>& findings) {
  for (const auto& chain : data_plane.disturbed_chains()) {
    findings.push_back(
        {Severity::warning, chain.device, chain.problem, chain.before.empty() ? "" : kFirstAdvice});
  }
  for (const auto& [device, last] : data_plane.overtakings()) {
    if (is_recent(last.when)) {
      findings.push_back({Severity::warning, device,
                          ago(last.when) + " it was " + last.whom + "; is first again",
                          kFirstAdvice});
    }
  }
}

template <class DataPlane>
void note_chains(const DataPlane& data_plane, std::vector<std::string>& notes) {
  for (const auto& chain : data_plane.disturbed_chains()) {
    notes.push_back(chain.device + ": " + chain.problem);
  }
  const auto now = std::chrono::system_clock::now();
  for (const auto& [device, last] : data_plane.overtakings()) {
    if (now - last.when < kOfNow) {
      notes.push_back(ago(last.when) + ": " + device + " was " + last.whom + "; is first again");
    }
  }
}

/// Guests that claim to be others, and those that were never heard.
void look_at_guests(const dataplane::TapDataPlane& tap, const dataplane::PacketWatch& packets,
                    std::vector<Finding>& findings) {
  Many strangers(
      findings, Severity::warning, "sources that are none of their port's",
      "a lease that differs from the port, or a guest that claims to be another: correct "
      "either of them");
  Many unheard(findings, Severity::note, "ports whose guests were never heard",
               "nothing came from it: is the guest running, and its network up?");
  for (const auto& slot : tap.slots()) {
    const auto port = "port " + slot.port_id + ": ";
    for (const auto& seen : packets.sightings().of(slot.owner)) {
      const auto source = seen.source.family == 0 ? "an address" : seen.source.text();
      strangers.add(slot.device, port + "its guest uses " + source + ", MAC " +
                                     to_string(seen.mac) + ", refused as " +
                                     std::string(dataplane::reasons()[seen.reason].name) +
                                     ", last seen " + ago(seen.last));
    }
    for (const auto* reason : {"wrong_mac", "spoofed_v4", "spoofed_v6"}) {
      if (const auto dropped = slot.reasons.find(reason); dropped != slot.reasons.end()) {
        strangers.add(slot.device,
                      port + std::to_string(dropped->second) + " packets dropped, " + reason);
      }
    }
    if (slot.reasons.empty()) {
      unheard.add(slot.device, port + "not a packet for the metadata service so far");
    }
  }
}

}  // namespace

std::vector<Finding> tap_findings(const dataplane::TapDataPlane& tap,
                                  const dataplane::PacketWatch& packets) {
  std::vector<Finding> findings;
  look_at_namespace(tap, findings);
  look_at_chains(tap, findings);
  look_at_devices(tap, findings);
  look_at_guests(tap, packets, findings);
  std::string missing;
  for (const auto& name : tap.missing_pins()) {
    missing += (missing.empty() ? "" : ", ") + name;
  }
  if (!missing.empty()) {
    findings.push_back({Severity::warning, "maps",
                        "somebody took them off the BPF filesystem: " + missing,
                        "guests are served; restart metatapd so that the next one finds them"});
  }
  return findings;
}

std::vector<std::string> tap_notes(const dataplane::TapDataPlane& tap) {
  std::vector<std::string> notes;
  if (const auto& health = tap.namespace_health();
      std::chrono::system_clock::now() - health.repaired < kOfNow) {
    notes.push_back(ago(health.repaired) + ": " + health.last_repair + ": put right");
  }
  note_chains(tap, notes);
  return notes;
}

std::vector<std::string> router_notes(const dataplane::RouterDataPlane& router) {
  std::vector<std::string> notes;
  note_chains(router, notes);
  return notes;
}

std::vector<admin::Finding> router_findings(const dataplane::RouterDataPlane& router) {
  using Severity = admin::Finding::Severity;
  using dataplane::DeviceState;
  using dataplane::PlaceState;
  std::vector<admin::Finding> findings;
  std::size_t unknown = 0;
  for (const auto& place : router.places()) {
    if (place.state == PlaceState::unknown) {
      ++unknown;
    } else if (place.state == PlaceState::down) {
      findings.push_back({Severity::warning, place.name, place.reason, ""});
    } else if (place.state == PlaceState::denied || place.state == PlaceState::failed) {
      findings.push_back({Severity::error, place.name, place.reason, ""});
    }
    for (const auto& device : place.devices) {
      if (device.state != DeviceState::steered && device.state != DeviceState::disabled) {
        findings.push_back({Severity::warning, place.name + "/" + device.name, device.reason, ""});
      }
    }
  }
  look_at_chains(router, findings);
  if (unknown != 0) {
    findings.push_back({Severity::warning, "namespaces",
                        std::to_string(unknown) +
                            " router or DHCP namespaces are not in the inventory and not served",
                        "metatap status names them; metatap apply makes them known"});
  }
  return findings;
}

std::vector<admin::Finding> old_path_findings(const dataplane::RouterDataPlane& router) {
  using Severity = admin::Finding::Severity;
  constexpr std::size_t kLookedAt = 50;
  std::vector<admin::Finding> findings;
  const auto join = [](std::string text, const std::vector<std::string>& parts) {
    for (const auto& part : parts) {
      text += (text.ends_with(": ") ? "" : "; ") + part;
    }
    return text;
  };
  const auto looked_at = router.old_paths(kLookedAt);
  for (const auto& old : looked_at) {
    if (!old.serves() && old.rules.empty()) {
      continue;
    }
    std::string message = "Neutron's own path is still there";
    if (old.serves()) {
      message = join(message + ", served by: ", old.processes);
      message = join(old.processes.empty() ? message : message + "; ", old.listeners);
    }
    if (!old.rules.empty()) {
      message = join(message + "; rules: ", old.rules);
    }
    findings.push_back({Severity::ok, old.name, std::move(message), old.advice()});
  }
  if (router.progress().served > looked_at.size()) {
    findings.push_back({Severity::ok, "namespaces",
                        "only " + std::to_string(looked_at.size()) + " of " +
                            std::to_string(router.progress().served) +
                            " were searched for Neutron's own path",
                        ""});
  }
  return findings;
}

std::vector<admin::Finding> findings_of_ovn_agent() {
  std::vector<admin::Finding> findings;
  for (const auto& left : dataplane::ovn_namespaces()) {
    std::string what = "left by neutron-ovn-metadata-agent";
    for (const auto& process : left.processes) {
      what += ", " + process;
    }
    findings.push_back({admin::Finding::Severity::ok, left.name, what,
                        "removable once that agent is stopped and disabled, unless a port is named "
                        "here that needs it: end what runs in it, then ip netns delete " +
                            left.name + " and ovs-vsctl del-port " + left.device});
  }
  return findings;
}

}  // namespace metatap::apps
