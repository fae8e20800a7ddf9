// SPDX-License-Identifier: Apache-2.0
// Random frames through the programs, and what must be true of whatever comes out: who asks for
// nothing of ours is left as it was, what is taken was for the metadata address and from the port's
// own MAC and address, it comes out under that port's alias and no other, lengths and checksums are
// as right or wrong as they were, and each packet has one reason.
// METATAP_FRAMES: so many for each program; METATAP_FRAMES_SEED: other ones.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bpf/packet.hpp"
#include "bpf/private_namespace.hpp"
#include "bpf/random_frames.hpp"
#include "bpf/test_run.hpp"
#include "dataplane/address_maps.hpp"
#include "dataplane/alias.hpp"
#include "dataplane/core.hpp"
#include "dataplane/guest_socket.hpp"

namespace metatap::dataplane {
namespace {

using testing::Bytes;
using testing::RandomFrames;

constexpr unsigned long kFrames = 40'000;
constexpr unsigned long kSeed = 1;

constexpr std::string_view kOurMac = "fe:16:3e:a9:fe:a9";
constexpr std::string_view kGuestMac = "52:54:00:00:00:01";
constexpr std::string_view kPairMac = "52:54:00:00:00:77";
constexpr std::array kMacs{kGuestMac, kGuestMac, kGuestMac, kPairMac, kOurMac};
constexpr std::array<std::string_view, 6> kV4{"10.0.0.5",  "10.0.0.5",  "10.0.0.6",
                                              "10.7.0.20", "10.0.0.99", "192.0.2.1"};
constexpr std::array<std::string_view, 6> kV6{"fe80::1234",     "fe80::1234",    "2001:db8::5",
                                              "2001:db8:7::41", "2001:db8:8::1", "fd00::10"};
constexpr std::array<std::uint16_t, 10> kVlans{0, 0, 7, 8, 9, 11, 13, 14, 15, 99};

constexpr std::uint32_t kGeneration = 5;

struct TapPort {
  std::uint32_t slot = 0;
  std::uint32_t flags = 0;
  PortAddresses addresses;
};

/// By VLAN tag; the device is one.
std::map<std::uint16_t, TapPort> tap_ports() {
  Port fixed;
  fixed.mac_address = kGuestMac;
  fixed.fixed_ips = {{"", "10.0.0.5"}, {"", "10.0.0.6"}, {"", "2001:db8::5"}};
  Port pairs = fixed;
  pairs.allowed_address_pairs = {
      {"10.7.0.16/28", {}}, {"2001:db8:7::40/122", {}}, {"10.0.0.99", std::string(kPairMac)}};
  Port nothing;
  nothing.mac_address = kGuestMac;
  std::map<std::uint16_t, TapPort> ports{
      {0, {5, 0, PortAddresses::of(fixed)}},
      {7, {6, 0, PortAddresses::of(fixed)}},
      {8, {7, MT_SLOT_DISABLED, PortAddresses::of(fixed)}},
      {9, {8, MT_SLOT_LEARN, PortAddresses::of(nothing)}},
      {11, {9, MT_SLOT_PREFIXES, PortAddresses::of(pairs)}},
      {13, {10, MT_SLOT_ANY_MAC, PortAddresses::of(fixed)}},
      {14, {11, MT_SLOT_REFUSE_DOWN, PortAddresses::of(fixed)}},
      {15, {13, MT_SLOT_REFUSE_FORWARDED, PortAddresses::of(fixed)}}};
  for (auto& [vlan, port] : ports) {
    port.addresses.number({});
  }
  return ports;
}

// ---- reading frames, once more and in another way than the programs do ----

constexpr std::size_t kMacsSize = 12, kEthernet = 14, kTag = 4;
constexpr std::uint8_t kIcmp = 1, kTcp = 6, kFragment = 44, kIcmp6 = 58;

std::uint16_t word(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes.at(at) << 8 | bytes.at(at + 1));
}

Bytes part(const Bytes& bytes, std::size_t at, std::size_t size) {
  return {bytes.begin() + static_cast<long>(at), bytes.begin() + static_cast<long>(at + size)};
}

Address address_at(const Bytes& bytes, std::size_t at, int family) {
  Address address{family, {}};
  std::memcpy(address.bytes.data(), bytes.data() + at, address.size());
  return address;
}

/// An IP packet as far as its headers are there.
struct View {
  bool v4 = false;
  std::size_t l3 = 0, l4 = 0;
  std::uint8_t protocol = 0;
  bool first = true;                 ///< fragment, or all of it
  std::optional<std::size_t> inner;  ///< the packet that an ICMP error is about

  [[nodiscard]] int family() const { return v4 ? AF_INET : AF_INET6; }
  [[nodiscard]] std::size_t source() const { return l3 + (v4 ? 12 : 8); }
  [[nodiscard]] std::size_t destination() const { return l3 + (v4 ? 16 : 24); }
  [[nodiscard]] std::size_t inner_source() const { return *inner + (v4 ? 12 : 8); }
  [[nodiscard]] std::size_t inner_destination() const { return *inner + (v4 ? 16 : 24); }
};

/// nullopt: it is no IP packet whose headers are there.
std::optional<View> view_of(const Bytes& frame, std::size_t l3) {
  const auto type = word(frame, l3 - 2);
  View view{.v4 = type == 0x0800, .l3 = l3};
  if ((type != 0x0800 && type != 0x86dd) || frame.size() < l3 + (view.v4 ? 20 : 40)) {
    return std::nullopt;
  }
  if (view.v4) {
    view.l4 = l3 + 4UL * (frame[l3] & 0xfU);
    view.protocol = frame[l3 + 9];
    view.first = (word(frame, l3 + 6) & 0x1fffU) == 0;
  } else {
    view.l4 = l3 + 40;
    view.protocol = frame[l3 + 6];
    const std::set<std::uint8_t> extensions{0, 43, kFragment, 60};
    while (view.first && extensions.contains(view.protocol)) {
      if (frame.size() < view.l4 + 8) {
        return view;  // ends with a header that is not there
      }
      const bool fragment = view.protocol == kFragment;
      view.protocol = frame[view.l4];
      view.first = !fragment || (word(frame, view.l4 + 2) & 0xfff8U) == 0;
      view.l4 += fragment ? 8 : 8UL + 8UL * frame[view.l4 + 1];
    }
  }
  const bool icmp = view.protocol == (view.v4 ? kIcmp : kIcmp6);
  if (view.first && icmp && frame.size() >= view.l4 + 8) {
    const auto kind = frame[view.l4];
    const bool error = view.v4 ? kind == 3 || kind == 11 || kind == 12 : kind >= 1 && kind <= 4;
    if (error && frame.size() >= view.l4 + 8 + (view.v4 ? 20 : 40)) {
      view.inner = view.l4 + 8;
    }
  }
  return view;
}

/// What the parts of a packet with a checksum add up to: 0xffff where the checksum is right.
struct Sums {
  std::uint16_t header = 0xffff, segment = 0xffff, inner = 0xffff;
  bool operator==(const Sums&) const = default;
};

std::uint16_t sum_of(const Bytes& bytes, std::uint32_t start = 0) {
  const auto sum = testing::sum16(bytes, start);
  return sum == 0 ? 0xffff : sum;  // one number in two spellings
}

Sums sums_of(const Bytes& frame, const View& view) {
  Sums sums;
  const auto header_size = view.l4 - view.l3;
  if (view.v4 && frame.size() >= view.l4) {
    sums.header = sum_of(part(frame, view.l3, header_size));
  }
  if (view.inner && view.v4) {
    // Of the options, which may not be there, the rest of the ICMP message takes care.
    sums.inner = sum_of(part(frame, *view.inner, 20));
  }
  if (!view.first || frame.size() <= view.l4) {
    return sums;
  }
  const auto segment = part(frame, view.l4, frame.size() - view.l4);
  std::uint32_t pseudo = 0;
  if (view.protocol == kTcp || !view.v4) {
    pseudo = testing::sum16(part(frame, view.source(), view.v4 ? 8 : 32));
  }
  sums.segment = sum_of(segment, pseudo);
  return sums;
}

bool is_metadata(const Bytes& frame, std::size_t at, bool v4) {
  const auto wanted = v4 ? metadata_v4() : metadata_v6();
  return frame.size() >= at + wanted.size() && address_at(frame, at, wanted.family) == wanted;
}

/// A TCP segment to the metadata port, a later fragment, a ping, or an error about one of ours.
bool may_be_steered(const Bytes& in, const View& view) {
  if (!is_metadata(in, view.destination(), view.v4)) {
    return false;
  }
  const bool icmp = view.protocol == (view.v4 ? kIcmp : kIcmp6);
  if (!view.first) {
    return icmp || view.protocol == kTcp || (!view.v4 && view.protocol == 60);
  }
  if (view.protocol == kTcp) {
    return in.size() >= view.l4 + 20 && word(in, view.l4 + 2) == MT_METADATA_PORT;
  }
  return icmp && in.size() >= view.l4 + 8 &&
         (in[view.l4] == (view.v4 ? 8 : 128) ||
          (view.inner && is_metadata(in, view.inner_source(), view.v4)));
}

/// The first segment of a connection, with a TTL or hop limit that no system starts with.
bool is_forwarded_syn(const Bytes& in, const View& view) {
  if (view.protocol != kTcp || !view.first) {
    return false;
  }
  constexpr unsigned kSyn = 0x02, kAck = 0x10;
  const auto hops = in[view.l3 + (view.v4 ? 8 : 7)];
  return (in[view.l4 + 13] & (kSyn | kAck)) == kSyn && hops != 64 && hops != 128 && hops != 255;
}

/// fe80::/64; what else begins with fe80::/10 is an address as any other.
bool is_link_local(const Address& address) {
  return !address.v4() && std::memcmp(address.bytes.data(), "\xfe\x80\0\0\0\0\0\0", 8) == 0;
}

void copy(Bytes& to, const Bytes& from, std::size_t at, std::size_t size) {
  std::copy_n(from.begin() + static_cast<long>(at), size, to.begin() + static_cast<long>(at));
}

void put(Bytes& to, std::size_t at, const Address& address) {
  std::copy_n(address.bytes.begin(), address.size(), to.begin() + static_cast<long>(at));
}

// ---- the programs ----

/// In a network namespace of its own, which the test leaves again.
class World {
 public:
  World() : ports_(tap_ports()), before_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
    auto netlink = sys::Netlink::open().value();
    const auto lo = netlink.link("lo")->index;
    EXPECT_TRUE(netlink.set_up(lo));
    for (const auto& address : {metadata_v4(), inner_v4(), inner_v6()}) {
      sys::Route route;
      route.destination = address;
      route.prefix = address.bits();
      route.ifindex = lo;
      route.local = true;
      EXPECT_TRUE(netlink.add_route(route));
    }
    EXPECT_TRUE(netlink.add_veth({"random0", {}}, {"random1", {}}));
    device_ = netlink.link("random0")->index;
    DataPlaneOptions options;
    options.pin_path = pins_.path();
    options.slots = 64;
    core_ = Core::with_bpf(options).value();
    auto config = core_->programs->config().value();
    config.veth_ifindex = device_;
    config.nsid = -1;  // the namespace of the device itself
    config.sample = 1;
    config.syn_interval_ns = 0;
    std::ranges::copy(testing::mac_bytes(kOurMac), config.mac);
    EXPECT_TRUE(core_->programs->set_config(config));
    for (const auto& [vlan, port] : ports_) {
      add_tap(vlan, port);
    }
    add_router();
    for (const auto& address : {metadata_v4(), inner_v4(), inner_v6()}) {
      auto socket = open_guest_socket({address, 0, -1});
      EXPECT_TRUE(socket) << socket.error().message;
      listeners_.push_back(*std::move(socket));
      const int fd = listeners_.back().get();
      const mt_listener where{kPlace, 0};
      if (address != metadata_v4()) {
        put("mt_listeners", fd, where);
      }
    }
  }
  ~World() {
    core_->end(false);
    EXPECT_EQ(::setns(before_.get(), CLONE_NEWNET), 0);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  testing::Outcome run(std::string_view program, const Bytes& in) const {
    return testing::test_run(core_->programs->program(program), in, device_);
  }
  [[nodiscard]] const TapPort* port_of(std::uint16_t vlan) const {
    const auto found = ports_.find(vlan);
    return found == ports_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] const TapPort* port_of_slot(std::uint32_t slot) const {
    const auto found =
        std::ranges::find_if(ports_, [&](const auto& each) { return each.second.slot == slot; });
    return found == ports_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] std::vector<ReasonStatus> reasons() const {
    return count_reasons(*core_->programs);
  }
  [[nodiscard]] std::optional<Address> learned(const Alias& alias, int family) const {
    return AddressMaps(&core_->programs->maps()).address_of(alias, family);
  }

  static constexpr std::uint32_t kPlace = 3, kRouterDevice = 20, kRouterPort = 21;
  static constexpr std::array kRouterPortHas{"10.0.0.5", "2001:db8::5"};

 private:
  template <class Key, class Value>
  void put(const char* map, const Key& key, const Value& value) {
    EXPECT_EQ(::bpf_map_update_elem(core_->programs->map(map), &key, &value, BPF_ANY), 0) << map;
  }

  void add_tap(std::uint16_t vlan, const TapPort& port) {
    mt_slot row{};
    row.kind = MT_KIND_TAP;
    row.flags = port.flags;
    row.ifindex = device_;
    row.vlan = vlan;
    row.generation = kGeneration;
    row.first_v4 = (port.flags & MT_SLOT_ANY_MAC) != 0 ? 0 : port.addresses.first_v4();
    std::ranges::copy(testing::mac_bytes(kGuestMac), row.mac);
    const AddressMaps maps(&core_->programs->maps());
    EXPECT_TRUE(maps.change({port.slot, kGeneration}, {}, port.addresses));
    put("mt_slots", port.slot, row);
    put("mt_taps", port.slot, std::uint32_t{1});  // what counts is that there is one
    put("mt_ports", mt_port_key{device_, vlan, 0}, port.slot);
  }

  void add_router() {
    mt_slot row{};
    row.ifindex = device_;
    row.kind = MT_KIND_ROUTER_DEVICE;
    put("mt_slots", kRouterDevice, row);
    row.kind = MT_KIND_ROUTER_PORT;
    put("mt_slots", kRouterPort, row);
    put("mt_devices", mt_device_key{kPlace, device_}, kRouterDevice);
    for (const auto* address : kRouterPortHas) {
      const auto bytes = testing::ip_bytes(address);
      mt_source_key source{};
      source.device_slot = kRouterDevice;
      source.family = bytes.size() == 4 ? MT_FAMILY_V4 : MT_FAMILY_V6;
      std::ranges::copy(bytes, source.address);
      put("mt_sources", source, kRouterPort);
    }
  }

  testing::TemporaryPins pins_;
  const std::map<std::uint16_t, TapPort> ports_;
  const UniqueFd before_;
  std::shared_ptr<Core> core_;
  unsigned device_ = 0;
  std::vector<UniqueFd> listeners_;
};

/// A test's frames, and a first look at the outcome of each: empty, or what is wrong with it.
class Random : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    world_ = std::make_unique<World>();
  }

  static unsigned long setting(const char* name, unsigned long otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::stoul(text);
  }

  /// Runs them all, and looks at the sums of reasons at the end.
  template <class Make, class Check>
  void run(std::string_view program, Make&& make, Check&& check,
           const std::set<std::string>& expected) {
    const auto seed = setting("METATAP_FRAMES_SEED", kSeed);
    const auto frames = setting("METATAP_FRAMES", kFrames);
    std::cout << frames << " frames through " << program << ", METATAP_FRAMES_SEED=" << seed
              << "\n";
    RandomFrames random(seed);
    std::map<std::string, std::uint64_t> verdicts;
    for (unsigned long n = 0; n < frames; ++n) {
      const Bytes in = make(random);
      const auto outcome = world_->run(program, in);
      ++verdicts[outcome.verdict];
      const std::string wrong = check(in, outcome);
      ASSERT_EQ(wrong, "") << "frame " << n << " of seed " << seed << ": " << outcome.verdict
                           << ", mark " << outcome.mark << "\n"
                           << testing::to_hex(in) << "\nbecame\n"
                           << testing::to_hex(outcome.bytes);
    }
    std::map<std::string, std::uint64_t> outcomes;
    std::uint64_t all = 0, probes = 0;
    for (const auto& reason : world_->reasons()) {
      all += reason.packets;
      probes += reason.name == "self_probe" ? reason.packets : 0;  // noted, and goes nowhere
      outcomes[reason.outcome] += reason.packets;
      if (expected.contains(reason.name)) {
        EXPECT_GT(reason.packets, 0U) << "no frame came to " << reason.name;
      } else {
        EXPECT_EQ(reason.packets, 0U) << reason.name << " is no reason of " << program;
      }
    }
    EXPECT_EQ(all, frames) << "each packet has one reason";
    EXPECT_EQ(outcomes["drop"] + probes, verdicts["SHOT"]);
    if (program == "mt_tap" || program == "mt_return") {
      EXPECT_EQ(outcomes["steer"], verdicts["REDIRECT"] + probes);
      EXPECT_EQ(outcomes["pass"], verdicts["UNSPEC"]);
    } else {
      EXPECT_EQ(outcomes["steer"] + outcomes["pass"], verdicts["UNSPEC"]);
    }
  }

  std::unique_ptr<World> world_;
};

// ---- mt_tap ----

class RandomTap : public Random {
 protected:
  std::string check(const Bytes& in, const testing::Outcome& out) const {
    if (out.verdict == "UNSPEC") {
      return out.bytes == in && out.mark == 0 ? "" : "what is passed on has changed";
    }
    if (out.verdict == "SHOT") {
      return "";
    }
    if (out.verdict != "REDIRECT") {
      return "a verdict of none of ours";
    }
    const bool tagged = word(in, kMacsSize) == 0x8100;
    const std::size_t l3 = kEthernet + (tagged ? kTag : 0);
    const auto* port = world_->port_of(tagged ? word(in, kEthernet) & 0x0fffU : 0);
    if (port == nullptr || (port->flags & MT_SLOT_DISABLED) != 0) {
      return "nobody's frame was taken";
    }
    if (!may_speak(*port, in)) {
      return "taken from a MAC that is not the port's";
    }
    if (out.mark == 0) {
      return word(in, l3 - 2) == 0x0806 ? check_arp(in, out.bytes, l3)
                                        : check_nd(in, out.bytes, l3);
    }
    return out.mark == port->slot ? check_steered(in, out.bytes, l3, *port) : "another port's mark";
  }

 private:
  static bool may_speak(const TapPort& port, const Bytes& in) {
    MacAddress mac{};
    std::copy_n(in.begin() + 6, mac.size(), mac.begin());
    return (mac[0] & 1) == 0 && ((port.flags & MT_SLOT_ANY_MAC) != 0 ||
                                 port.addresses.has_mac(*parse_mac(kGuestMac), mac));
  }

  /// Our answer, to who asked: nothing else of the frame is another.
  static std::string check_arp(const Bytes& in, const Bytes& out, std::size_t l3) {
    if (!is_metadata(in, l3 + 24, true) || word(in, l3 + 6) != 1) {
      return "an ARP answer for another address, or to no request";
    }
    const auto ours = testing::mac_bytes(kOurMac);
    Bytes wanted = in;
    std::copy_n(in.begin() + 6, 6, wanted.begin());
    std::ranges::copy(ours, wanted.begin() + 6);
    auto* arp = wanted.data() + l3;
    arp[7] = 2;
    std::copy_n(in.data() + l3 + 8, 10, arp + 18);  // the asker's addresses
    std::ranges::copy(ours, arp + 8);
    put(wanted, l3 + 14, metadata_v4());
    return out == wanted ? "" : "the ARP answer is not\n" + testing::to_hex(wanted);
  }

  static std::string check_nd(const Bytes& in, const Bytes& out, std::size_t l3) {
    constexpr std::size_t kSolicitation = 24, kAdvertisement = 32;
    const auto view = view_of(in, l3);
    if (!view || view->v4 || view->l4 != l3 + 40 || in.size() < view->l4 + kSolicitation ||
        in[view->l4] != 135 || in[l3 + 7] != 255 || !is_metadata(in, view->l4 + 8, false)) {
      return "an ND answer for another address, or to no solicitation";
    }
    const auto ours = testing::mac_bytes(kOurMac);
    Bytes wanted = part(in, 0, view->l4);
    std::copy_n(in.begin() + 6, 6, wanted.begin());
    std::ranges::copy(ours, wanted.begin() + 6);
    wanted[l3 + 4] = 0;
    wanted[l3 + 5] = kAdvertisement;
    put(wanted, l3 + 8, metadata_v6());
    put(wanted, l3 + 24, address_at(in, l3 + 8, AF_INET6));
    const Bytes head{136, 0, out.at(view->l4 + 2), out.at(view->l4 + 3), 0x60, 0, 0, 0};
    wanted.insert(wanted.end(), head.begin(), head.end());
    const auto target = metadata_v6();
    wanted.insert(wanted.end(), target.bytes.begin(), target.bytes.end());
    wanted.insert(wanted.end(), {2, 1});
    wanted.insert(wanted.end(), ours.begin(), ours.end());
    if (out != wanted) {
      return "the ND answer is not\n" + testing::to_hex(wanted);
    }
    const auto pseudo = testing::sum16(part(out, l3 + 8, 32)) + kIcmp6 + kAdvertisement;
    return sum_of(part(out, view->l4, kAdvertisement), static_cast<std::uint32_t>(pseudo)) == 0xffff
               ? ""
               : "the ND answer's checksum is wrong";
  }

  std::string check_steered(const Bytes& in, const Bytes& out, std::size_t l3,
                            const TapPort& port) const {
    Bytes wanted = in;
    if (l3 != kEthernet) {
      wanted.erase(wanted.begin() + kMacsSize, wanted.begin() + kMacsSize + kTag);
    }
    const auto view = view_of(wanted, kEthernet);
    if (!view || !may_be_steered(wanted, *view)) {
      return "taken, but it was not for the metadata service";
    }
    if (out.size() != wanted.size()) {
      return "its length has changed";
    }
    if ((port.flags & MT_SLOT_REFUSE_FORWARDED) != 0 && is_forwarded_syn(wanted, *view)) {
      return "taken, but somebody behind the guest had sent it";
    }
    const auto source = address_at(wanted, view->source(), view->family());
    const auto about =
        view->inner ? address_at(wanted, view->inner_destination(), view->family()) : source;
    const auto alias = Alias::of(address_at(out, view->source(), view->family()));
    if (!alias || alias->slot != port.slot || alias->generation != kGeneration) {
      return "its source is no alias of the port";
    }
    if (!is_index_of(port, about, alias->index, view->inner.has_value())) {
      return "its alias has the index of another address";
    }
    const auto before = sums_of(wanted, *view);
    const auto alias_of = [&](const Address& address) {
      return view->v4 ? alias->v4() : alias->v6(address);
    };
    put(wanted, view->source(), alias_of(source));
    if (view->inner) {
      put(wanted, view->inner_destination(), alias_of(about));
    }
    if (view->v4) {  // which are right or wrong as before: see below
      copy(wanted, out, view->l3 + 10, 2);
      if (view->protocol == kTcp && view->first) {
        copy(wanted, out, view->l4 + 16, 2);
      }
      if (view->inner) {
        copy(wanted, out, *view->inner + 10, 2);
      }
    }
    if (out != wanted) {
      return "more has changed than addresses and checksums; wanted\n" + testing::to_hex(wanted);
    }
    return sums_of(out, *view) == before ? "" : "a checksum is not as right as it was";
  }

  [[nodiscard]] bool is_index_of(const TapPort& port, const Address& address, std::uint32_t index,
                                 bool reported) const {
    if (is_link_local(address)) {
      return index == MT_LINK_LOCAL;
    }
    if (const auto* own = port.addresses.find(address)) {
      return index == own->index;
    }
    const bool may_learn =
        (port.flags & MT_SLOT_LEARN) != 0 || port.addresses.admits(address) || reported;
    return may_learn && index >= MT_FIRST_LEARNED &&
           world_->learned({port.slot, kGeneration, index}, address.family) == address;
  }
};

TEST_F(RandomTap, TakesWhatIsForUsAndFromThePort) {
  const RandomFrames::Addresses world{.macs = kMacs,
                                      .v4 = kV4,
                                      .v6 = kV6,
                                      .to_v4 = "169.254.169.254",
                                      .to_v6 = "fe80::a9fe:a9fe",
                                      .vlans = kVlans};
  run(
      "mt_tap", [&](RandomFrames& random) { return random.request(world); },
      [&](const Bytes& in, const testing::Outcome& out) { return check(in, out); },
      {"not_metadata",      "other_port",      "other_protocol", "probe_own",    "other_path",
       "unknown_port",      "port_disabled",   "spoofed_v4",     "spoofed_v6",   "malformed",
       "tiny_fragment",     "ext_headers",     "wrong_mac",      "steered_v4",   "steered_v6",
       "steered_fragment",  "steered_echo",    "steered_error",  "arp_answered", "nd_answered",
       "steered_forwarded", "forwarded_inside"});
}

// ---- mt_return ----

class RandomReturn : public Random {
 protected:
  std::string check(const Bytes& in, const testing::Outcome& out) const {
    if (out.verdict == "SHOT") {
      return "";
    }
    auto view = view_of(in, kEthernet);
    if (out.verdict != "REDIRECT" || !view || !is_metadata(in, view->source(), view->v4)) {
      return "it let out what is not from the metadata address";
    }
    if (!view->v4 && view->l4 != view->l3 + 40) {
      view->inner.reset();  // the namespace's own errors come whole: in a fragment it is data
    }
    const auto seen = address_at(in, view->destination(), view->family());
    const auto alias = Alias::of(seen);
    const auto* port = alias ? world_->port_of_slot(alias->slot) : nullptr;
    if (port == nullptr || alias->generation != kGeneration ||
        (port->flags & MT_SLOT_DISABLED) != 0) {
      return "it answered an address that is no port's alias";
    }
    const auto guest = address_at(out.bytes, view->destination(), view->family());
    const bool link_local = !view->v4 && alias->index == MT_LINK_LOCAL;
    const auto* own = port->addresses.find(view->family(), alias->index);
    if (link_local ? !is_link_local(guest) : own == nullptr || own->address != guest) {
      return "it gave the answer another address than the alias stands for";
    }
    // What the namespace was never given as an alias has another sum than the guest's address.
    const bool given = view->v4 || alias->v6(guest) == seen;
    return check_bytes(in, out.bytes, *view, guest, given);
  }

 private:
  static std::string check_bytes(const Bytes& in, const Bytes& out, const View& view,
                                 const Address& guest, bool given) {
    if (out.size() != in.size()) {
      return "its length has changed";
    }
    Bytes wanted = in;
    copy(wanted, out, 0, 6);  // of the guest, or of a pair of its: see below
    std::ranges::copy(testing::mac_bytes(kOurMac), wanted.begin() + 6);
    put(wanted, view.destination(), guest);
    if (view.inner) {
      put(wanted, view.inner_source(), view.v4 ? guest : with_prefix_of(guest, in, view));
    }
    if (view.v4) {
      copy(wanted, out, view.l3 + 10, 2);
      if (view.protocol == kTcp && view.first) {
        copy(wanted, out, view.l4 + 16, 2);
      }
      if (view.inner) {
        copy(wanted, out, *view.inner + 10, 2);
      }
    }
    if (out != wanted) {
      return "more has changed than addresses and checksums; wanted\n" + testing::to_hex(wanted);
    }
    const auto mac = part(out, 0, 6);
    if (mac != testing::mac_bytes(kGuestMac) && mac != testing::mac_bytes(kPairMac)) {
      return "it goes to a MAC that is not the port's";
    }
    return !given || sums_of(out, view) == sums_of(in, view)
               ? ""
               : "a checksum is not as right as it was";
  }

  static Address with_prefix_of(const Address& guest, const Bytes& in, const View& view) {
    auto address = address_at(in, view.inner_source(), AF_INET6);
    std::copy_n(guest.bytes.begin(), 8, address.bytes.begin());
    return address;
  }
};

TEST_F(RandomReturn, LetsOutAnswersToPortsAndNothingElse) {
  std::vector<std::string> texts4, texts6;
  for (const std::uint32_t slot : {0U, 5U, 6U, 7U, 9U, 10U, 12U, 63U, 0xffffU}) {
    for (const std::uint32_t index : {0U, 1U, 2U, 192U}) {
      const auto generation = slot == 10 && index == 2 ? kGeneration + 1 : kGeneration;
      const Alias alias{slot, generation, index};
      texts4.push_back(alias.v4().text());
      texts6.push_back(alias.v6(*Address::parse(index == 0 ? "fe80::1234" : "2001:db8::5")).text());
    }
  }
  const std::vector<std::string_view> v4(texts4.begin(), texts4.end());
  const std::vector<std::string_view> v6(texts6.begin(), texts6.end());
  const RandomFrames::Addresses world{.macs = kMacs,
                                      .v4 = v4,
                                      .v6 = v6,
                                      .to_v4 = "169.254.169.254",
                                      .to_v6 = "fe80::a9fe:a9fe",
                                      .vlans = {}};
  run(
      "mt_return", [&](RandomFrames& random) { return random.answer(world); },
      [&](const Bytes& in, const testing::Outcome& out) { return check(in, out); },
      {"return_v4", "return_v6", "return_error", "return_foreign", "return_stale",
       "return_malformed", "return_failed", "self_probe"});
}

// ---- mt_router, mt_router_out ----

class RandomRouter : public Random {
 protected:
  static std::string check_in(const Bytes& in, const testing::Outcome& out) {
    if (out.verdict == "SHOT") {
      return "";
    }
    if (out.verdict != "UNSPEC") {
      return "it is not for this program to send anything elsewhere";
    }
    if (out.bytes == in) {
      return out.mark == 0 ? "" : "left alone, but marked";
    }
    const auto view = view_of(in, kEthernet);
    if (!view || !is_metadata(in, view->destination(), view->v4) || view->protocol != kTcp) {
      return "changed, but it was not for the metadata service";
    }
    if (view->first && word(in, view->l4 + 2) != MT_METADATA_PORT) {
      return "changed, but it was for another port";
    }
    if (out.mark != 0 && out.mark != World::kRouterDevice && out.mark != World::kRouterPort) {
      return "another's mark";
    }
    const auto source = address_at(in, view->source(), view->family()).text();
    if (out.mark == World::kRouterPort &&
        std::ranges::find(World::kRouterPortHas, source) == World::kRouterPortHas.end()) {
      return "the mark of a port that has another address";
    }
    return check_swap(in, out.bytes, *view, view->destination(),
                      view->v4 ? inner_v4() : inner_v6());
  }

  static std::string check_out(const Bytes& in, const testing::Outcome& out) {
    if (out.verdict != "UNSPEC") {
      return "an answer was stopped";
    }
    if (out.bytes == in) {
      return "";
    }
    const auto view = view_of(in, kEthernet);
    const auto inner = view && view->v4 ? inner_v4() : inner_v6();
    if (!view || address_at(in, view->source(), view->family()) != inner) {
      return "changed, but it was not from the listener";
    }
    return check_swap(in, out.bytes, *view, view->source(),
                      view->v4 ? metadata_v4() : metadata_v6());
  }

 private:
  /// One address has become another of the same sum.
  static std::string check_swap(const Bytes& in, const Bytes& out, const View& view, std::size_t at,
                                const Address& now) {
    Bytes wanted = in;
    put(wanted, at, now);
    if (out != wanted) {
      return "more has changed than the address; wanted\n" + testing::to_hex(wanted);
    }
    return sums_of(out, view) == sums_of(in, view) ? "" : "a checksum is not as right as it was";
  }
};

TEST_F(RandomRouter, TurnsMetadataRequestsToTheListener) {
  const RandomFrames::Addresses world{.macs = kMacs,
                                      .v4 = kV4,
                                      .v6 = kV6,
                                      .to_v4 = "169.254.169.254",
                                      .to_v6 = "fe80::a9fe:a9fe",
                                      .vlans = {}};
  run("mt_router", [&](RandomFrames& random) { return random.request(world); }, check_in,
      {"not_metadata", "other_port", "other_protocol", "other_path", "malformed", "tiny_fragment",
       "router_other_headers", "router_v4", "router_v6", "router_unknown_source", "router_fragment",
       "steered_forwarded"});
}

TEST_F(RandomRouter, PutsTheMetadataAddressBack) {
  const RandomFrames::Addresses world{.macs = kMacs,
                                      .v4 = kV4,
                                      .v6 = kV6,
                                      .to_v4 = "240.254.98.254",
                                      .to_v6 = "fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe",
                                      .vlans = {}};
  run("mt_router_out", [&](RandomFrames& random) { return random.answer(world); }, check_out,
      {"not_metadata", "router_answer_v4", "router_answer_v6"});
}

}  // namespace
}  // namespace metatap::dataplane
