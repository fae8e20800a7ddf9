// SPDX-License-Identifier: Apache-2.0
// mt_tap and mt_return over tables of packets: verdict, reason, bytes and mark of each.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "bpf/packet.hpp"
#include "bpf/private_namespace.hpp"
#include "bpf/test_run.hpp"
#include "dataplane/alias.hpp"
#include "dataplane/core.hpp"
#include "dataplane/dry_run.hpp"
#include "dataplane/metadata_namespace.hpp"
#include "dataplane/tap_plan.hpp"

namespace metatap::dataplane {
namespace {

using testing::Bytes;
using testing::Packet;

constexpr const char* kMeta4 = "169.254.169.254";
constexpr const char* kMeta6 = "fe80::a9fe:a9fe";
constexpr const char* kSolicited = "ff02::1:fffe:a9fe";
constexpr const char* kOurMac = "fe:16:3e:a9:fe:a9";
constexpr const char* kGuestMac = "52:54:00:00:00:01";

/// Rows of the slot table that the cases use. The device is a veth of the private namespace.
enum Slot : std::uint32_t {
  kStrict = 5,    ///< VLAN 0
  kTrunk = 6,     ///< VLAN 7
  kDisabled = 7,  ///< VLAN 8
  kLearning = 8,  ///< VLAN 9
  kRefusing = 9,  ///< VLAN 10
  kGone = 11,     ///< no row
  kPrefix = 12,   ///< VLAN 11: address pairs with a prefix, and one with a MAC
  kMany = 13,     ///< VLAN 12: 64 addresses of each family
  kAnyMac = 14,   ///< VLAN 13
  kOpen = 15,     ///< VLAN 14: whoever is behind it may ask
  kClosed = 16,   ///< VLAN 15: nobody behind it may
  kUnknown = 17,  ///< VLAN 16: a device that no port has yet
};

/// All rows are of this owner of their number.
constexpr std::uint32_t kGeneration = 3;
constexpr const char* kPairMac = "52:54:00:00:00:77";
constexpr const char* kWrongMac = "52:54:00:00:00:02";

enum class Listener { open, none };

struct Case {
  std::string name;
  std::string program = "mt_tap";
  Packet in;
  std::string verdict;
  std::string reason;
  std::uint32_t slot = 0;
  std::optional<Packet> out{};  ///< absent: not a byte may change
  Listener listener = Listener::open;
  bool no_budget = false;  ///< the bucket is empty
  bool full = false;       ///< no room for one more address
  bool check_bytes = true;
};

std::string alias4(std::uint32_t slot, std::uint32_t index = 0) {
  return Alias{slot, kGeneration, index}.v4().text();
}

std::string alias6(std::uint32_t slot, std::uint32_t index, std::string_view guest) {
  return Alias{slot, kGeneration, index}.v6(Address::parse(guest).value()).text();
}

/// The first address that a port learns.
constexpr std::uint32_t kLearned = MT_FIRST_LEARNED;
/// As the port of `kMany` has them; its n-th v4 address has index n, its n-th v6 one n + 1.
constexpr unsigned kManyAddresses = 64;

std::string many4(unsigned n) {
  return "10.1.0." + std::to_string(n + 1);
}

std::string many6(unsigned n) {
  return Address::parse("2001:db8:1::" + std::to_string(n + 1)).value().text();
}

PortAddresses addresses_of(std::uint32_t slot) {
  if (slot == kUnknown) {
    return PortAddresses::of_nobody();
  }
  Port port;
  port.mac_address = kGuestMac;
  if (slot == kMany) {
    for (unsigned n = 0; n < kManyAddresses; ++n) {
      port.fixed_ips.push_back({"", many4(n)});
      port.fixed_ips.push_back({"", many6(n)});
    }
  } else if (slot != kLearning) {
    port.fixed_ips = {{"", "10.0.0.5"}, {"", "10.0.0.6"}, {"", "2001:db8::5"}};
  }
  if (slot == kPrefix) {
    port.allowed_address_pairs = {
        {"10.7.0.16/28", {}}, {"2001:db8:7::40/122", {}}, {"10.0.0.99", kPairMac}};
  }
  auto addresses = PortAddresses::of(port);
  addresses.number({});
  return addresses;
}

/// Loads the programs once, in a namespace of their own.
class Kernel {
 public:
  static Kernel& instance() {
    static Kernel kernel;
    return kernel;
  }

  void listen(bool open) {
    listener_.reset();
    if (!open) {
      return;
    }
    listener_.reset(::socket(AF_INET, SOCK_STREAM, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_port = htons(80);
    local.sin_addr.s_addr = htonl(0xa9fea9feU);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
    ASSERT_EQ(::listen(listener_.get(), 8), 0);
  }

  void configure(bool no_budget) {
    auto config = core_->programs->config().value();
    config.veth_ifindex = device_;
    config.nsid = -1;  // the namespace of the device itself
    config.sample = 1;
    config.syn_interval_ns = no_budget ? 3'600'000'000'000ULL : 0;
    config.syn_burst_ns = 0;
    ASSERT_TRUE(core_->programs->set_config(config));
  }

  testing::Outcome run(const std::string& program, const Bytes& in, int repeat = 1) {
    return testing::test_run(core_->programs->program(program), in, device_, repeat);
  }

  std::uint64_t count(const std::string& reason) {
    for (const auto& status : count_reasons(*core_->programs)) {
      if (status.name == reason) {
        return status.packets;
      }
    }
    ADD_FAILURE() << "no reason " << reason;
    return 0;
  }
  std::uint64_t count(std::uint32_t slot, const std::string& reason) {
    std::uint32_t number = 0;
    while (number < MT_REASONS && reasons()[number].name != reason) {
      ++number;
    }
    const mt_slot_reason key{slot, number};
    std::uint64_t value = 0;
    ::bpf_map_lookup_elem(core_->programs->map("mt_slot_reasons"), &key, &value);
    mt_counter counter{};
    ::bpf_map_lookup_elem(core_->programs->map("mt_counters"), &slot, &counter);
    const std::map<std::string, std::uint64_t> ordinary = {{"steered_v4", counter.steered_v4},
                                                           {"steered_v6", counter.steered_v6},
                                                           {"return_v4", counter.answered_v4},
                                                           {"return_v6", counter.answered_v6}};
    const auto found = ordinary.find(reason);
    return value + (found == ordinary.end() ? 0 : found->second);
  }
  /// Rows as the table of slots above says.
  void reset_rows() {
    row(kStrict, 0, 0);
    row(kTrunk, 7, 0);
    row(kDisabled, 8, MT_SLOT_DISABLED);
    row(kLearning, 9, MT_SLOT_LEARN);
    row(kRefusing, 10, MT_SLOT_REFUSE_DOWN);
    row(kPrefix, 11, MT_SLOT_PREFIXES);
    row(kMany, 12, 0);
    row(kAnyMac, 13, MT_SLOT_ANY_MAC);
    row(kOpen, 14, MT_SLOT_ALLOW_FORWARDED);
    row(kClosed, 15, MT_SLOT_REFUSE_FORWARDED);
    row(kUnknown, 16, plan_unknown({}, {}).row.flags);
  }
  /// mt_addresses takes not one row more; only what is there already can be asked from.
  void fill_addresses(bool full) {
    const int map = core_->programs->map("mt_addresses");
    const mt_address nothing{};
    mt_address_key key{MT_TAG_MASK, 0, MT_FAMILY_V4, {}};
    for (std::uint32_t n = 0; n < 5000; ++n) {
      std::memcpy(key.address, &n, sizeof(n));
      if (full) {
        if (::bpf_map_update_elem(map, &key, &nothing, BPF_ANY) != 0) {
          return;
        }
      } else if (::bpf_map_delete_elem(map, &key) != 0) {
        return;
      }
    }
  }
  /// Rows of a slot in mt_addresses.
  unsigned rows_of(std::uint32_t slot) {
    const int map = core_->programs->map("mt_addresses");
    unsigned count = 0;
    mt_address_key key{};
    for (const mt_address_key* previous = nullptr; ::bpf_map_get_next_key(map, previous, &key) == 0;
         previous = &key) {
      count += key.slot == slot ? 1 : 0;
    }
    return count;
  }
  [[nodiscard]] Core& core() { return *core_; }
  [[nodiscard]] unsigned device() const { return device_; }

 private:
  Kernel() {
    testing::enter_private_namespace();
    auto netlink = sys::Netlink::open().value();
    const auto lo = netlink.link("lo")->index;
    EXPECT_TRUE(netlink.set_up(lo));
    EXPECT_TRUE(netlink.add_address(lo, Address::parse(kMeta4).value(), 32));
    EXPECT_TRUE(netlink.add_veth({"tested0", {}}, {"tested1", {}}));
    device_ = netlink.link("tested0")->index;
    DataPlaneOptions options;
    options.pin_path = pins_.path();
    options.slots = 64;
    auto core = Core::with_bpf(options);
    EXPECT_TRUE(core) << core.error().message;
    core_ = *core;
    reset_rows();
  }

  void row(std::uint32_t slot, std::uint16_t vlan, std::uint32_t flags) {
    mt_slot row{};
    row.kind = MT_KIND_TAP;
    row.flags = flags;
    row.ifindex = device_;
    row.vlan = vlan;
    if (slot != kUnknown) {
      std::ranges::copy(testing::mac_bytes(kGuestMac), row.mac);
    }
    row.generation = kGeneration;
    const AddressMaps maps(&core_->programs->maps());
    const SlotOwner owner{slot, kGeneration};
    const auto addresses = addresses_of(slot);
    row.first_v4 = (flags & MT_SLOT_ANY_MAC) != 0 ? 0 : addresses.first_v4();
    ASSERT_TRUE(maps.forget_learned(owner, [](const auto&) { return false; }));
    ASSERT_TRUE(maps.change(owner, maps.met(owner).value().addresses, {}));
    ASSERT_TRUE(maps.change(owner, addresses, {}));
    ASSERT_TRUE(maps.change(owner, {}, addresses));
    const mt_counter no_traffic{};
    ASSERT_EQ(
        ::bpf_map_update_elem(core_->programs->map("mt_counters"), &slot, &no_traffic, BPF_ANY), 0);
    const mt_port_key key{device_, vlan, 0};
    ASSERT_EQ(::bpf_map_update_elem(core_->programs->map("mt_slots"), &slot, &row, BPF_ANY), 0);
    const std::uint32_t any_device = 1;  // what counts is that there is one
    ASSERT_EQ(::bpf_map_update_elem(core_->programs->map("mt_taps"), &slot, &any_device, BPF_ANY),
              0);
    ASSERT_EQ(::bpf_map_update_elem(core_->programs->map("mt_ports"), &key, &slot, BPF_ANY), 0);
  }

  testing::TemporaryPins pins_;
  std::shared_ptr<Core> core_;
  unsigned device_ = 0;
  UniqueFd listener_;
};

Packet v4(std::string_view source = "10.0.0.5") {
  return Packet().eth().ipv4(source, kMeta4);
}

Packet v6(std::string_view source = "fe80::1234") {
  return Packet().eth().ipv6(source, kMeta6);
}

Packet ns(std::string_view source, std::string_view destination, std::string_view target,
          std::string_view mac, std::uint8_t hops = 255, std::string_view from = kGuestMac) {
  Bytes body = testing::ip_bytes(target);
  if (!mac.empty()) {
    body.push_back(1);
    body.push_back(1);
    const auto lladdr = testing::mac_bytes(mac);
    body.insert(body.end(), lladdr.begin(), lladdr.end());
  }
  return Packet().eth(from).ipv6(source, destination, hops).icmp(135).payload(body);
}

Packet na(std::string_view destination) {
  Bytes body = testing::ip_bytes(kMeta6);
  body.push_back(2);
  body.push_back(1);
  const auto lladdr = testing::mac_bytes(kOurMac);
  body.insert(body.end(), lladdr.begin(), lladdr.end());
  return Packet()
      .eth(kOurMac, kGuestMac)
      .ipv6(kMeta6, destination, 255)
      .icmp(136, 0, 0x60000000U)
      .payload(body);
}

/// A TTL or hop limit that no system starts with: the guest passed it on for somebody.
void forwarding_cases(const std::function<void(Case)>& add) {
  const auto from = [](std::uint16_t vlan) {
    return vlan == 0 ? Packet().eth() : Packet().eth().vlan(vlan);
  };
  const auto v4_of = [&](std::uint16_t vlan, std::string_view source, std::uint8_t ttl) {
    return from(vlan).ipv4(source, kMeta4, {.ttl = ttl});
  };
  const auto steered = [&](std::string name, std::uint16_t vlan, std::uint32_t slot,
                           std::uint8_t ttl, std::string reason, std::string_view flags = "S") {
    add({.name = std::move(name),
         .in = v4_of(vlan, "10.0.0.5", ttl).tcp(40000, 80, flags),
         .verdict = "REDIRECT",
         .reason = std::move(reason),
         .slot = slot,
         .out = v4_of(0, alias4(slot), ttl).tcp(40000, 80, flags)});
  };
  for (const int first : {64, 128, 255}) {
    const auto ttl = static_cast<std::uint8_t>(first);
    steered("SentWith" + std::to_string(first), 0, kStrict, ttl, "steered_v4");
    steered("ForwardedFrom" + std::to_string(first), 0, kStrict, ttl - 1, "steered_forwarded");
  }
  steered("ForwardedOften", 0, kStrict, 1, "steered_forwarded");
  steered("ForwardedAndAllowed", 14, kOpen, 63, "steered_v4");
  steered("OfItsOwnWhereNobodyElseMay", 15, kClosed, 64, "steered_v4");
  add({.name = "ForwardedAndRefused",
       .in = v4_of(15, "10.0.0.5", 63).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "forwarded_inside",
       .slot = kClosed});
  add({.name = "ForwardedV6",
       .in = Packet().eth().ipv6("fe80::1234", kMeta6, 63).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_forwarded",
       .slot = kStrict,
       .out =
           Packet().eth().ipv6(alias6(kStrict, 0, "fe80::1234"), kMeta6, 63).tcp(40000, 80, "S")});
  add({.name = "ForwardedAndRefusedV6",
       .in = Packet().eth().vlan(15).ipv6("fe80::1234", kMeta6, 254).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "forwarded_inside",
       .slot = kClosed});
}

/// Who may ask: MACs, further addresses, prefixes, what is learned.
void identity_cases(const std::function<void(Case)>& add) {
  const std::string zero = "00:00:00:00:00:00";
  const auto refused = [&](std::string name, Packet in, std::string reason, std::uint32_t slot) {
    add({.name = std::move(name),
         .in = std::move(in),
         .verdict = "SHOT",
         .reason = std::move(reason),
         .slot = slot});
  };
  const auto steered4 = [&](std::string name, std::uint16_t vlan, std::string_view mac,
                            std::string_view source, std::uint32_t slot, std::uint32_t index) {
    add({.name = std::move(name),
         .in = Packet().eth(mac).vlan(vlan).ipv4(source, kMeta4).tcp(40000, 80, "S"),
         .verdict = "REDIRECT",
         .reason = "steered_v4",
         .slot = slot,
         .out = Packet().eth(mac).ipv4(alias4(slot, index), kMeta4).tcp(40000, 80, "S")});
  };
  const auto steered6 = [&](std::string name, std::uint16_t vlan, std::string_view source,
                            std::uint32_t slot, std::uint32_t index) {
    add({.name = std::move(name),
         .in = Packet().eth().vlan(vlan).ipv6(source, kMeta6).tcp(40000, 80, "S"),
         .verdict = "REDIRECT",
         .reason = "steered_v6",
         .slot = slot,
         .out = Packet().eth().ipv6(alias6(slot, index, source), kMeta6).tcp(40000, 80, "S")});
  };
  const auto tagged = [](std::uint16_t vlan, std::string_view source) {
    return Packet().eth().vlan(vlan).ipv4(source, kMeta4).tcp(40000, 80, "S");
  };
  const auto tagged6 = [](std::uint16_t vlan, std::string_view source) {
    return Packet().eth().vlan(vlan).ipv6(source, kMeta6).tcp(40000, 80, "S");
  };
  refused("WrongMac", Packet().eth(kWrongMac).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
          "wrong_mac", kStrict);
  refused("WrongMacV6", Packet().eth(kWrongMac).ipv6("fe80::1234", kMeta6).tcp(40000, 80, "S"),
          "wrong_mac", kStrict);
  refused("WrongMacArp", Packet().eth(kWrongMac).arp(1, kGuestMac, "10.0.0.5", zero, kMeta4),
          "wrong_mac", kStrict);
  refused("WrongMacSolicitation", ns("fe80::1234", kSolicited, kMeta6, kGuestMac, 255, kWrongMac),
          "wrong_mac", kStrict);
  refused("WrongMacEcho", Packet().eth(kWrongMac).ipv4("10.0.0.5", kMeta4).icmp(8).payload("ping"),
          "wrong_mac", kStrict);
  refused("WrongMacWhereAddressesAreLearned",
          Packet().eth(kWrongMac).vlan(9).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"), "wrong_mac",
          kLearning);
  refused("GroupMac",
          Packet().eth("53:54:00:00:00:01").vlan(13).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
          "wrong_mac", kAnyMac);
  steered4("AnyMacWhereThePortSaysSo", 13, kWrongMac, "10.0.0.5", kAnyMac, 0);
  steered4("MacOfAnAddressPair", 11, kPairMac, "10.0.0.99", kPrefix, 2);
  refused("MacOfAnotherPortsPair",
          Packet().eth(kPairMac).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"), "wrong_mac",
          kStrict);

  steered4("LastOf64Addresses", 12, kGuestMac, many4(63), kMany, 63);
  steered6("LastOf64AddressesV6", 12, many6(63), kMany, 64);
  refused("OneBeyond64Addresses", tagged(12, many4(64)), "spoofed_v4", kMany);
  refused("OneBeyond64AddressesV6", tagged6(12, many6(64)), "spoofed_v6", kMany);

  steered4("FirstWithinThePrefix", 11, kGuestMac, "10.7.0.16", kPrefix, kLearned);
  steered4("LastWithinThePrefix", 11, kGuestMac, "10.7.0.31", kPrefix, kLearned);
  steered4("FixedAddressBesideAPrefix", 11, kGuestMac, "10.0.0.5", kPrefix, 0);
  refused("BelowThePrefix", tagged(11, "10.7.0.15"), "spoofed_v4", kPrefix);
  refused("AboveThePrefix", tagged(11, "10.7.0.32"), "spoofed_v4", kPrefix);
  steered6("WithinAPrefixLongerThan64", 11, "2001:db8:7::7f", kPrefix, kLearned);
  refused("BesideAPrefixLongerThan64", tagged6(11, "2001:db8:7::80"), "spoofed_v6", kPrefix);
  refused("PrefixOfAnotherPort", tagged(10, "10.7.0.16"), "spoofed_v4", kRefusing);
  refused("GroupIsNotLearned", tagged(9, "224.0.0.1"), "spoofed_v4", kLearning);
  refused("BroadcastIsNotLearned", tagged(9, "255.255.255.255"), "spoofed_v4", kLearning);
  {
    const auto quoted = Packet().eth().ipv4(kMeta4, "10.7.0.20").tcp(80, 1, "A").l3(28);
    refused("AnErrorTeachesNothing",
            Packet().eth().vlan(11).ipv4("10.0.0.5", kMeta4).icmp(3, 4, 1280).payload(quoted),
            "spoofed_v4", kPrefix);
  }
  for (const bool six : {false, true}) {
    add({.name = six ? "NoRoomToLearnV6" : "NoRoomToLearn",
         .in = six ? tagged6(9, "2001:db8::77") : tagged(9, "192.0.2.77"),
         .verdict = "SHOT",
         .reason = "addresses_full",
         .slot = kLearning,
         .full = true});
  }
  add({.name = "NoRoomButConfigured",
       .in = Packet().eth().ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet().eth().ipv4(alias4(kStrict), kMeta4).tcp(40000, 80, "S"),
       .full = true});
}

/// No port has the device yet: whatever its guest asks from.
void unknown_cases(const std::function<void(Case)>& add) {
  const auto v4_from = [](std::string_view source, std::uint8_t ttl = 64) {
    return Packet().eth(kWrongMac).vlan(16).ipv4(source, kMeta4, {.ttl = ttl}).tcp(1, 80, "S");
  };
  const auto v6_from = [](std::string_view source) {
    return Packet().eth(kWrongMac).vlan(16).ipv6(source, kMeta6).tcp(1, 80, "S");
  };
  const auto steered = [&](std::string name, Packet in, Packet out) {
    add({.name = std::move(name),
         .in = std::move(in),
         .verdict = "REDIRECT",
         .reason = "steered_unknown",
         .slot = kUnknown,
         .out = std::move(out)});
  };
  steered("OfNoPort", v4_from("10.9.9.9"),
          Packet().eth(kWrongMac).ipv4(alias4(kUnknown), kMeta4).tcp(1, 80, "S"));
  steered(
      "OfNoPortV6", v6_from("2001:db8:9::9"),
      Packet().eth(kWrongMac).ipv6(alias6(kUnknown, 1, "2001:db8:9::9"), kMeta6).tcp(1, 80, "S"));
  steered("OfNoPortLinkLocal", v6_from("fe80::9"),
          Packet().eth(kWrongMac).ipv6(alias6(kUnknown, 0, "fe80::9"), kMeta6).tcp(1, 80, "S"));
  add({.name = "OfNoPortArp",
       .in = Packet().eth(kWrongMac).vlan(16).arp(1, kWrongMac, "10.9.9.9", "00:00:00:00:00:00",
                                                  kMeta4),
       .verdict = "REDIRECT",
       .reason = "arp_answered",
       .slot = kUnknown,
       .out = Packet()
                  .eth(kOurMac, kWrongMac)
                  .vlan(16)
                  .arp(2, kOurMac, kMeta4, kWrongMac, "10.9.9.9")});
  add({.name = "OfNoPortForwarded",
       .in = v4_from("10.9.9.9", 63),
       .verdict = "SHOT",
       .reason = "forwarded_inside",
       .slot = kUnknown});
  add({.name = "OfNoPortWhileNobodyListens",
       .in = v4_from("10.9.9.9"),
       .verdict = "SHOT",
       .reason = "refused_down",
       .slot = kUnknown,
       .listener = Listener::none});
}

std::vector<Case> tap_cases() {
  std::vector<Case> all;
  const auto add = [&](Case c) { all.push_back(std::move(c)); };
  const std::string zero = "00:00:00:00:00:00";

  // Not ours.
  add({.name = "TcpElsewhere",
       .in = Packet().eth().ipv4("10.0.0.5", "10.0.0.1").tcp(1, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});
  add({.name = "V6Elsewhere",
       .in = Packet().eth().ipv6("fe80::1", "fe80::2").tcp(1, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});
  add({.name = "ArpForAnother",
       .in = Packet().eth().arp(1, kGuestMac, "10.0.0.5", zero, "10.0.0.1"),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});
  add({.name = "NeighbourOfAnother",
       .in = ns("fe80::1", "ff02::1:ff00:2", "fe80::2", kGuestMac),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});
  add({.name = "Runt",
       .in = Packet().eth().payload(Bytes(4, 0)),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});
  add({.name = "OtherPort",
       .in = v4().tcp(40000, 443, "S"),
       .verdict = "UNSPEC",
       .reason = "other_port"});
  add({.name = "OtherPortV6",
       .in = v6().tcp(40000, 443, "S"),
       .verdict = "UNSPEC",
       .reason = "other_port"});
  add({.name = "Udp", .in = v4().udp(40000, 80), .verdict = "UNSPEC", .reason = "other_protocol"});
  add({.name = "UdpV6",
       .in = v6().udp(40000, 80),
       .verdict = "UNSPEC",
       .reason = "other_protocol"});
  add({.name = "IcmpTimestamp",
       .in = v4().icmp(13).payload(Bytes(12, 0)),
       .verdict = "UNSPEC",
       .reason = "other_protocol"});
  add({.name = "DoubleTagged",
       .in = Packet().eth().vlan(7).vlan(8).ipv4("10.0.0.5", kMeta4).tcp(1, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "not_metadata"});

  // Steered, IPv4.
  add({.name = "Syn",
       .in = v4().tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet().eth().ipv4(alias4(kStrict), kMeta4).tcp(40000, 80, "S")});
  add({.name = "SecondAddress",
       .in = v4("10.0.0.6").tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet().eth().ipv4(alias4(kStrict, 1), kMeta4).tcp(40000, 80, "S")});
  add({.name = "IpOptions",
       .in = Packet()
                 .eth()
                 .ipv4("10.0.0.5", kMeta4, {.options = Bytes{1, 1, 1, 1, 1, 1, 1, 0}})
                 .tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet()
                  .eth()
                  .ipv4(alias4(kStrict), kMeta4, {.options = Bytes{1, 1, 1, 1, 1, 1, 1, 0}})
                  .tcp(40000, 80, "S")});
  add({.name = "Payload",
       .in = Packet()
                 .eth()
                 .vlan(10)
                 .ipv4("10.0.0.5", kMeta4)
                 .tcp(40000, 80, "PA")
                 .payload("GET / HTTP/1.1\r\n\r\n"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kRefusing,
       .out = Packet()
                  .eth()
                  .ipv4(alias4(kRefusing), kMeta4)
                  .tcp(40000, 80, "PA")
                  .payload("GET / HTTP/1.1\r\n\r\n")});
  add({.name = "TrunkTagIsTakenOff",
       .in = Packet().eth().vlan(7).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kTrunk,
       .out = Packet().eth().ipv4(alias4(kTrunk), kMeta4).tcp(40000, 80, "S")});
  add({.name = "PriorityTagIsUntagged",
       .in = Packet().eth().vlan(0xe000).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet().eth().ipv4(alias4(kStrict), kMeta4).tcp(40000, 80, "S")});
  add({.name = "AddressedToOurMac",
       .in = Packet().eth(kGuestMac, kOurMac).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kStrict,
       .out = Packet().eth(kGuestMac, kOurMac).ipv4(alias4(kStrict), kMeta4).tcp(40000, 80, "S")});
  add({.name = "LearnedAddress",
       .in = Packet().eth().vlan(9).ipv4("192.0.2.77", kMeta4).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kLearning,
       .out = Packet().eth().ipv4(alias4(kLearning, kLearned), kMeta4).tcp(40000, 80, "S")});
  add({.name = "FirstFragment",
       .in = Packet()
                 .eth()
                 .vlan(10)
                 .ipv4("10.0.0.5", kMeta4, {.fragment = 0x2000})
                 .tcp(40000, 80, "PA")
                 .payload(Bytes(44, 'x')),
       .verdict = "REDIRECT",
       .reason = "steered_v4",
       .slot = kRefusing,
       .out = Packet()
                  .eth()
                  .ipv4(alias4(kRefusing), kMeta4, {.fragment = 0x2000})
                  .tcp(40000, 80, "PA")
                  .payload(Bytes(44, 'x'))});
  add({.name = "LaterFragment",
       .in = Packet()
                 .eth()
                 .ipv4("10.0.0.5", kMeta4, {.fragment = 0x2008})
                 .protocol(6)
                 .payload(Bytes(64, 'x')),
       .verdict = "REDIRECT",
       .reason = "steered_fragment",
       .slot = kStrict,
       .out = Packet()
                  .eth()
                  .ipv4(alias4(kStrict), kMeta4, {.fragment = 0x2008})
                  .protocol(6)
                  .payload(Bytes(64, 'x'))});
  add({.name = "Echo",
       .in = v4().icmp(8, 0, 0x00010002).payload("ping"),
       .verdict = "REDIRECT",
       .reason = "steered_echo",
       .slot = kStrict,
       .out = Packet().eth().ipv4(alias4(kStrict), kMeta4).icmp(8, 0, 0x00010002).payload("ping")});
  {
    // A hop behind the guest reports; the quoted packet is ours to the guest.
    const auto quoted = [](std::string_view guest) {
      return Packet().eth().ipv4(kMeta4, guest).tcp(80, 40000, "A").payload("x").l3(28);
    };
    Bytes alias_quoted = quoted(alias4(kStrict));
    // The quoted TCP checksum is as the guest saw it.
    const Bytes seen = quoted("10.0.0.5");
    add({.name = "FragmentationNeeded",
         .in = Packet().eth().ipv4("10.9.9.9", kMeta4).icmp(3, 4, 1280).payload(seen),
         .verdict = "REDIRECT",
         .reason = "steered_error",
         .slot = kStrict,
         .out =
             Packet().eth().ipv4(alias4(kStrict), kMeta4).icmp(3, 4, 1280).payload(alias_quoted)});
    add({.name = "ErrorAboutSomebodyElsesAddress",
         .in =
             Packet().eth().ipv4("10.0.0.5", kMeta4).icmp(3, 4, 1280).payload(quoted("10.0.0.77")),
         .verdict = "SHOT",
         .reason = "spoofed_v4",
         .slot = kStrict});
    add({.name = "ErrorAboutAnotherConversation",
         .in = Packet()
                   .eth()
                   .ipv4("10.0.0.5", kMeta4)
                   .icmp(3, 4, 1280)
                   .payload(Packet().eth().ipv4("10.0.0.1", "10.0.0.5").tcp(80, 1, "A").l3(28)),
         .verdict = "UNSPEC",
         .reason = "other_protocol"});
  }

  // Steered, IPv6: no checksum changes, since the alias has the sum of what it replaces.
  add({.name = "SynV6",
       .in = v6().tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v6",
       .slot = kStrict,
       .out = Packet().eth().ipv6(alias6(kStrict, 0, "fe80::1234"), kMeta6).tcp(40000, 80, "S")});
  add({.name = "GlobalV6",
       .in = v6("2001:db8::5").tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v6",
       .slot = kStrict,
       .out = Packet().eth().ipv6(alias6(kStrict, 1, "2001:db8::5"), kMeta6).tcp(40000, 80, "S")});
  add({.name = "TrunkV6",
       .in = Packet().eth().vlan(7).ipv6("fe80::1234", kMeta6).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v6",
       .slot = kTrunk,
       .out = Packet().eth().ipv6(alias6(kTrunk, 0, "fe80::1234"), kMeta6).tcp(40000, 80, "S")});
  add({.name = "LearnedV6",
       .in = Packet().eth().vlan(9).ipv6("2001:db8:7::9", kMeta6).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v6",
       .slot = kLearning,
       .out = Packet()
                  .eth()
                  .ipv6(alias6(kLearning, kLearned, "2001:db8:7::9"), kMeta6)
                  .tcp(40000, 80, "S")});
  add({.name = "ExtensionHeaders",
       .in = v6().extension(0).extension(60, 16).tcp(40000, 80, "S"),
       .verdict = "REDIRECT",
       .reason = "steered_v6",
       .slot = kStrict,
       .out = Packet()
                  .eth()
                  .ipv6(alias6(kStrict, 0, "fe80::1234"), kMeta6)
                  .extension(0)
                  .extension(60, 16)
                  .tcp(40000, 80, "S")});
  add({.name = "LaterFragmentV6",
       .in = v6().fragment_header(0x0041).protocol(6).payload(Bytes(64, 'x')),
       .verdict = "REDIRECT",
       .reason = "steered_fragment",
       .slot = kStrict,
       .out = Packet()
                  .eth()
                  .ipv6(alias6(kStrict, 0, "fe80::1234"), kMeta6)
                  .fragment_header(0x0041)
                  .protocol(6)
                  .payload(Bytes(64, 'x'))});
  add({.name = "EchoV6",
       .in = v6().icmp(128, 0, 0x00010002).payload("ping"),
       .verdict = "REDIRECT",
       .reason = "steered_echo",
       .slot = kStrict,
       .out = Packet()
                  .eth()
                  .ipv6(alias6(kStrict, 0, "fe80::1234"), kMeta6)
                  .icmp(128, 0, 0x00010002)
                  .payload("ping")});
  {
    const auto quoted = [](std::string_view guest) {
      return Packet().eth().ipv6(kMeta6, guest).tcp(80, 40000, "A").payload("x").l3(60);
    };
    add({.name = "PacketTooBig",
         .in = Packet()
                   .eth()
                   .ipv6("2001:db8:ffff::1", kMeta6)
                   .icmp(2, 0, 1280)
                   .payload(quoted("2001:db8::5")),
         .verdict = "REDIRECT",
         .reason = "steered_error",
         .slot = kStrict,
         .out = Packet()
                    .eth()
                    .ipv6(alias6(kStrict, 1, "2001:db8:ffff::1"), kMeta6)
                    .icmp(2, 0, 1280)
                    .payload(quoted(alias6(kStrict, 1, "2001:db8::5")))});
  }

  // Refused.
  add({.name = "UnknownVlan",
       .in = Packet().eth().vlan(77).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "unknown_port"});
  add({.name = "AdminDown",
       .in = Packet().eth().vlan(8).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "port_disabled",
       .slot = kDisabled});
  add({.name = "SpoofedSource",
       .in = v4("10.0.0.7").tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "spoofed_v4",
       .slot = kStrict});
  add({.name = "ZeroSource",
       .in = v4("0.0.0.0").tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "spoofed_v4",
       .slot = kStrict});
  add({.name = "SpoofedV6",
       .in = v6("2001:db8::6").tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "spoofed_v6",
       .slot = kStrict});
  add({.name = "MulticastV6Source",
       .in = Packet().eth().vlan(9).ipv6("ff02::1", kMeta6).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "spoofed_v6",
       .slot = kLearning});
  identity_cases(add);
  forwarding_cases(add);
  unknown_cases(add);
  add({.name = "CutTcp",
       .in = v4().tcp(40000, 80, "S").cut(14 + 20 + 12),
       .verdict = "SHOT",
       .reason = "malformed"});
  add({.name = "CutTcpV6",
       .in = v6().tcp(40000, 80, "S").cut(14 + 40 + 12),
       .verdict = "SHOT",
       .reason = "malformed"});
  add({.name = "TinyFragment",
       .in = Packet()
                 .eth()
                 .ipv4("10.0.0.5", kMeta4, {.fragment = 0x2000})
                 .protocol(6)
                 .payload(Bytes(8, 0)),
       .verdict = "SHOT",
       .reason = "tiny_fragment"});
  add({.name = "TinyFragmentV6",
       .in = v6().fragment_header(0x0001).protocol(6).payload(Bytes(8, 0)),
       .verdict = "SHOT",
       .reason = "tiny_fragment"});
  {
    Packet many = v6();
    for (int i = 0; i < 9; ++i) {
      many.extension(60);
    }
    add({.name = "EndlessExtensionHeaders",
         .in = many.tcp(40000, 80, "S"),
         .verdict = "SHOT",
         .reason = "ext_headers"});
  }
  add({.name = "EmptyBudget",
       .in = v4().tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "syn_budget",
       .slot = kStrict,
       .no_budget = true});
  add({.name = "EmptyBudgetV6",
       .in = v6().tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "syn_budget",
       .slot = kStrict,
       .no_budget = true});

  // Nobody listens.
  add({.name = "DownPass",
       .in = v4().tcp(40000, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "no_listener",
       .slot = kStrict,
       .listener = Listener::none});
  add({.name = "DownPassV6",
       .in = v6().tcp(40000, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "no_listener",
       .slot = kStrict,
       .listener = Listener::none});
  add({.name = "DownPassTrunkKeepsItsTag",
       .in = Packet().eth().vlan(7).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "UNSPEC",
       .reason = "no_listener",
       .slot = kTrunk,
       .listener = Listener::none});
  add({.name = "DownRefuse",
       .in = Packet().eth().vlan(10).ipv4("10.0.0.5", kMeta4).tcp(40000, 80, "S"),
       .verdict = "SHOT",
       .reason = "refused_down",
       .slot = kRefusing,
       .listener = Listener::none});
  add({.name = "DownArp",
       .in = Packet().eth().arp(1, kGuestMac, "10.0.0.5", zero, kMeta4),
       .verdict = "UNSPEC",
       .reason = "no_listener",
       .slot = kStrict,
       .listener = Listener::none});
  add({.name = "BegunElsewhere",
       .in = v4().tcp(40000, 80, "A"),
       .verdict = "UNSPEC",
       .reason = "other_path",
       .slot = kStrict});
  add({.name = "BegunElsewhereV6",
       .in = v6().tcp(40000, 80, "A"),
       .verdict = "UNSPEC",
       .reason = "other_path",
       .slot = kStrict});

  // ARP and neighbour discovery.
  add({.name = "Arp",
       .in = Packet().eth().arp(1, kGuestMac, "10.0.0.5", zero, kMeta4),
       .verdict = "REDIRECT",
       .reason = "arp_answered",
       .slot = kStrict,
       .out = Packet().eth(kOurMac, kGuestMac).arp(2, kOurMac, kMeta4, kGuestMac, "10.0.0.5")});
  add({.name = "ArpOnTrunkKeepsItsTag",
       .in = Packet().eth().vlan(7).arp(1, kGuestMac, "10.0.0.5", zero, kMeta4),
       .verdict = "REDIRECT",
       .reason = "arp_answered",
       .slot = kTrunk,
       .out = Packet()
                  .eth(kOurMac, kGuestMac)
                  .vlan(7)
                  .arp(2, kOurMac, kMeta4, kGuestMac, "10.0.0.5")});
  add({.name = "ArpProbe",
       .in = Packet().eth().arp(1, kGuestMac, "0.0.0.0", zero, kMeta4),
       .verdict = "UNSPEC",
       .reason = "probe_own"});
  add({.name = "ArpAnnouncement",
       .in = Packet().eth().arp(1, kGuestMac, kMeta4, zero, kMeta4),
       .verdict = "UNSPEC",
       .reason = "probe_own"});
  add({.name = "ArpReply",
       .in = Packet().eth().arp(2, kGuestMac, "10.0.0.5", kOurMac, kMeta4),
       .verdict = "UNSPEC",
       .reason = "probe_own"});
  add({.name = "ArpSpoofed",
       .in = Packet().eth().arp(1, kGuestMac, "10.0.0.7", zero, kMeta4),
       .verdict = "SHOT",
       .reason = "spoofed_v4",
       .slot = kStrict});
  add({.name = "ArpAdminDown",
       .in = Packet().eth().vlan(8).arp(1, kGuestMac, "10.0.0.5", zero, kMeta4),
       .verdict = "SHOT",
       .reason = "port_disabled",
       .slot = kDisabled});
  add({.name = "NeighbourSolicitation",
       .in = ns("fe80::1234", kSolicited, kMeta6, kGuestMac),
       .verdict = "REDIRECT",
       .reason = "nd_answered",
       .slot = kStrict,
       .out = na("fe80::1234")});
  add({.name = "UnicastSolicitationWithoutOption",
       .in = ns("2001:db8::5", kMeta6, kMeta6, ""),
       .verdict = "REDIRECT",
       .reason = "nd_answered",
       .slot = kStrict,
       .out = na("2001:db8::5")});
  add({.name = "DuplicateAddressDetection",
       .in = ns("::", kSolicited, kMeta6, ""),
       .verdict = "UNSPEC",
       .reason = "probe_own"});
  add({.name = "SameSolicitedNodeAnotherTarget",
       .in = ns("fe80::1234", kSolicited, "fe80::1:a9fe:a9fe", kGuestMac),
       .verdict = "UNSPEC",
       .reason = "probe_own"});
  add({.name = "ForwardedSolicitation",
       .in = ns("fe80::1234", kSolicited, kMeta6, kGuestMac, 64),
       .verdict = "SHOT",
       .reason = "malformed"});
  const auto to_the_group = [&](std::string name, const std::function<Packet(Packet)>& rest) {
    add({.name = std::move(name),
         .in = rest(Packet().eth().ipv6("fe80::1234", kSolicited)),
         .verdict = "UNSPEC",
         .reason = "not_metadata"});
  };
  to_the_group("SegmentToTheSolicitedNode", [](Packet p) { return p.tcp(40000, 80, "S"); });
  to_the_group("PingOfTheSolicitedNode", [](Packet p) { return p.icmp(128); });
  to_the_group("FragmentToTheSolicitedNode",
               [](Packet p) { return p.fragment_header(9).protocol(58).payload("fragment"); });
  return all;
}

std::vector<Case> return_cases() {
  std::vector<Case> all;
  const auto add = [&](Case c) {
    c.program = "mt_return";
    all.push_back(std::move(c));
  };
  const auto out = [] { return Packet().eth(kOurMac, kGuestMac); };
  add({.name = "SynAck",
       .in = Packet().eth().ipv4(kMeta4, alias4(kStrict)).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kStrict,
       .out = out().ipv4(kMeta4, "10.0.0.5").tcp(80, 40000, "SA")});
  add({.name = "SecondAddress",
       .in = Packet().eth().ipv4(kMeta4, alias4(kStrict, 1)).tcp(80, 40000, "A").payload("x"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kStrict,
       .out = out().ipv4(kMeta4, "10.0.0.6").tcp(80, 40000, "A").payload("x")});
  add({.name = "EchoReply",
       .in = Packet().eth().ipv4(kMeta4, alias4(kStrict)).icmp(0, 0, 7).payload("pong"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kStrict,
       .out = out().ipv4(kMeta4, "10.0.0.5").icmp(0, 0, 7).payload("pong")});
  add({.name = "LaterFragment",
       .in = Packet()
                 .eth()
                 .ipv4(kMeta4, alias4(kStrict), {.fragment = 0x00b9})
                 .protocol(1)
                 .payload("rest"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kStrict,
       .out = out().ipv4(kMeta4, "10.0.0.5", {.fragment = 0x00b9}).protocol(1).payload("rest")});
  {
    const auto quoted = [](std::string_view guest) {
      return Packet().eth().ipv4(guest, kMeta4).icmp(8).payload("x").l3(28);
    };
    add({.name = "ReassemblyTimeExceeded",
         .in = Packet()
                   .eth()
                   .ipv4(kMeta4, alias4(kStrict))
                   .icmp(11, 1)
                   .payload(quoted(alias4(kStrict))),
         .verdict = "REDIRECT",
         .reason = "return_error",
         .slot = kStrict,
         .out = out().ipv4(kMeta4, "10.0.0.5").icmp(11, 1).payload(quoted("10.0.0.5"))});
    add({.name = "ErrorThatQuotesAnother",
         .in = Packet()
                   .eth()
                   .ipv4(kMeta4, alias4(kStrict))
                   .icmp(11, 1)
                   .payload(quoted(alias4(kTrunk))),
         .verdict = "SHOT",
         .reason = "return_foreign",
         .slot = kStrict});
  }
  add({.name = "LinkLocal",
       .in = Packet().eth().ipv6(kMeta6, alias6(kStrict, 0, "fe80::1234")).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v6",
       .slot = kStrict,
       .out = out().ipv6(kMeta6, "fe80::1234").tcp(80, 40000, "SA")});
  add({.name = "Global",
       .in = Packet()
                 .eth()
                 .ipv6(kMeta6, alias6(kStrict, 1, "2001:db8::5"))
                 .tcp(80, 40000, "A")
                 .payload("x"),
       .verdict = "REDIRECT",
       .reason = "return_v6",
       .slot = kStrict,
       .out = out().ipv6(kMeta6, "2001:db8::5").tcp(80, 40000, "A").payload("x")});
  {
    const auto quoted = [](std::string_view guest) {
      return Packet().eth().ipv6(guest, kMeta6).icmp(128).payload("x").l3(48);
    };
    add({.name = "ErrorV6",
         .in = Packet()
                   .eth()
                   .ipv6(kMeta6, alias6(kStrict, 0, "fe80::1234"))
                   .icmp(3, 1)
                   .payload(quoted(alias6(kStrict, 0, "fe80::1234"))),
         .verdict = "REDIRECT",
         .reason = "return_error",
         .slot = kStrict,
         .out = out().ipv6(kMeta6, "fe80::1234").icmp(3, 1).payload(quoted("fe80::1234"))});
  }
  add({.name = "NotToAnAlias",
       .in = Packet().eth().ipv4(kMeta4, "10.0.0.5").tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_foreign"});
  add({.name = "NotFromTheMetadataAddress",
       .in = Packet().eth().ipv4("10.0.0.1", alias4(kStrict)).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_foreign"});
  add({.name = "Arp",
       .in = Packet().eth().arp(1, kGuestMac, "10.0.0.5", "00:00:00:00:00:00", kMeta4),
       .verdict = "SHOT",
       .reason = "return_foreign"});
  add({.name = "MulticastReport",
       .in = Packet().eth().ipv6("fe80::a9fe:a9fe", "ff02::16").icmp(143),
       .verdict = "SHOT",
       .reason = "return_foreign"});
  add({.name = "SlotOfNobody",
       .in = Packet().eth().ipv4(kMeta4, alias4(kGone)).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale"});
  add({.name = "AnswerToOurOwnLook",
       .in = Packet().eth().ipv4(kMeta4, Alias{0, 0, 1}.v4().text()).tcp(80, 1024, "SA"),
       .verdict = "SHOT",
       .reason = "self_probe"});
  add({.name = "AnswerToOurOwnLookV6",
       .in = Packet().eth().ipv6(kMeta6, alias6(0, 1, "fd00::1")).tcp(80, 1024, "SA"),
       .verdict = "SHOT",
       .reason = "self_probe"});
  add({.name = "SlotBeyondTheTable",
       .in = Packet().eth().ipv4(kMeta4, alias4(MT_TAG_MASK)).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale"});
  add({.name = "IndexWithoutAddress",
       .in = Packet().eth().ipv4(kMeta4, alias4(kStrict, 3)).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale",
       .slot = kStrict});
  add({.name = "IndexWithoutAddressV6",
       .in = Packet().eth().ipv6(kMeta6, alias6(kStrict, 4, "2001:db8::5")).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale",
       .slot = kStrict});
  add({.name = "IndexOfAnotherInterfaceId",
       .in = Packet().eth().ipv6(kMeta6, alias6(kStrict, 1, "2001:db8::6")).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale",
       .slot = kStrict});
  for (const std::uint32_t generation : {kGeneration - 1, kGeneration + 1}) {
    const Alias former{kStrict, generation, 0}, former6{kStrict, generation, 1};
    add({.name = "OwnerOfGeneration" + std::to_string(generation),
         .in = Packet().eth().ipv4(kMeta4, former.v4().text()).tcp(80, 1, "A").payload("secret"),
         .verdict = "SHOT",
         .reason = "return_stale"});
    add({.name = "OwnerOfGeneration" + std::to_string(generation) + "V6",
         .in = Packet()
                   .eth()
                   .ipv6(kMeta6, former6.v6(Address::parse("2001:db8::5").value()).text())
                   .tcp(80, 1, "A")
                   .payload("secret"),
         .verdict = "SHOT",
         .reason = "return_stale"});
  }
  add({.name = "LastOf64Addresses",
       .in = Packet().eth().ipv4(kMeta4, alias4(kMany, 63)).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kMany,
       .out = out().ipv4(kMeta4, many4(63)).tcp(80, 40000, "SA")});
  add({.name = "LastOf64AddressesV6",
       .in = Packet().eth().ipv6(kMeta6, alias6(kMany, 64, many6(63))).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v6",
       .slot = kMany,
       .out = out().ipv6(kMeta6, many6(63)).tcp(80, 40000, "SA")});
  add({.name = "ToTheMacOfAnAddressPair",
       .in = Packet().eth().ipv4(kMeta4, alias4(kPrefix, 2)).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kPrefix,
       .out = Packet().eth(kOurMac, kPairMac).ipv4(kMeta4, "10.0.0.99").tcp(80, 40000, "SA")});
  add({.name = "DisabledMeanwhile",
       .in = Packet().eth().ipv4(kMeta4, alias4(kDisabled)).tcp(80, 1, "A"),
       .verdict = "SHOT",
       .reason = "return_stale"});
  add({.name = "CutIcmp",
       .in = Packet().eth().ipv4(kMeta4, alias4(kStrict)).icmp(3).cut(14 + 20 + 4),
       .verdict = "SHOT",
       .reason = "return_malformed",
       .slot = kStrict});
  // bpf_skb_vlan_push() puts the tag beside the data, where TEST_RUN does not show it.
  add({.name = "Trunk",
       .in = Packet().eth().ipv4(kMeta4, alias4(kTrunk)).tcp(80, 40000, "SA"),
       .verdict = "REDIRECT",
       .reason = "return_v4",
       .slot = kTrunk,
       .out = out().ipv4(kMeta4, "10.0.0.5").tcp(80, 40000, "SA")});
  return all;
}

class WithKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
  }
};

class Program : public WithKernel, public ::testing::WithParamInterface<Case> {};

TEST_P(Program, DoesWhatTheTableSays) {
  const Case& c = GetParam();
  auto& kernel = Kernel::instance();
  kernel.reset_rows();
  kernel.listen(c.listener == Listener::open);
  kernel.configure(c.no_budget);
  kernel.fill_addresses(c.full);
  const auto in = c.in.bytes();
  if (c.no_budget) {
    kernel.run(c.program, in);  // the one that empties it
  }
  const auto before = kernel.count(c.reason);
  const auto slot_before = kernel.count(c.slot, c.reason);

  const auto outcome = kernel.run(c.program, in);

  EXPECT_EQ(outcome.verdict, c.verdict);
  EXPECT_EQ(kernel.count(c.reason), before + 1) << "reason " << c.reason;
  EXPECT_EQ(kernel.count(c.slot, c.reason), slot_before + (c.slot != 0 ? 1 : 0))
      << "reason " << c.reason << " of slot " << c.slot;
  EXPECT_EQ(testing::to_hex(outcome.bytes), testing::to_hex(c.out ? c.out->bytes() : in));
  if (c.program == "mt_tap" && c.reason.starts_with("steered_")) {
    EXPECT_EQ(outcome.mark, c.slot);
  }
}

/// What people read, and what the programs go by.
std::vector<std::uint64_t> traces(Kernel& kernel, const Case& c) {
  std::vector<std::uint64_t> all{kernel.count(c.slot, c.reason), kernel.rows_of(kLearning),
                                 kernel.rows_of(kPrefix)};
  for (const auto& status : count_reasons(*kernel.core().programs)) {
    all.push_back(status.packets);
  }
  const auto counter = kernel.core().programs->maps().counters.get(c.slot).value();
  all.insert(all.end(), {counter->packets, counter->drops, counter->answers, counter->learned_v4});
  const auto bucket = kernel.core().programs->maps().buckets.get(c.slot).value();
  all.push_back(bucket->full_until_ns);
  return all;
}

TEST_P(Program, IsWhatADryRunSaysWithoutATrace) {
  const Case& c = GetParam();
  if (c.reason == "addresses_full") {
    GTEST_SKIP() << "is found out by trying";
  }
  auto& kernel = Kernel::instance();
  static const auto dry = DryRun::load(*kernel.core().programs);
  ASSERT_TRUE(dry) << dry.error().message;
  kernel.reset_rows();
  kernel.listen(c.listener == Listener::open);
  kernel.configure(c.no_budget);
  kernel.fill_addresses(c.full);
  const auto in = c.in.bytes();
  if (c.no_budget) {
    kernel.run(c.program, in);  // the one that empties it
  }
  const auto before = traces(kernel, c);

  const auto outcome = dry->run(c.program, kernel.device(), in);

  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(reasons()[outcome->reason].name, c.reason);
  EXPECT_EQ(outcome->slot, c.slot);
  EXPECT_EQ(traces(kernel, c), before);
}

/// What the programs learn, over many packets.
class Learning : public WithKernel {
 protected:
  void SetUp() override {
    WithKernel::SetUp();
    if (IsSkipped()) {
      return;
    }
    kernel().reset_rows();
    kernel().fill_addresses(false);
    kernel().listen(true);
    kernel().configure(false);
  }
  static Kernel& kernel() { return Kernel::instance(); }
  /// The alias' index under which a SYN from there is steered; -1: it is not.
  static int ask(std::uint16_t vlan, std::string_view source, std::string_view mac = kGuestMac) {
    const bool six = source.find(':') != std::string_view::npos;
    auto packet = Packet().eth(mac).vlan(vlan);
    const auto in = six ? packet.ipv6(source, kMeta6).tcp(1, 80, "S").bytes()
                        : packet.ipv4(source, kMeta4).tcp(1, 80, "S").bytes();
    const auto outcome = kernel().run("mt_tap", in);
    if (outcome.verdict != "REDIRECT") {
      return -1;
    }
    Address alias{six ? AF_INET6 : AF_INET, {}};
    std::copy_n(&outcome.bytes[six ? 14 + 8 : 14 + 12], alias.size(), alias.bytes.begin());
    return static_cast<int>(Alias::of(alias).value().index);
  }
  /// Where an answer to that alias goes; empty: nowhere.
  static std::string answered(std::uint32_t slot, std::uint32_t index) {
    const auto outcome = kernel().run(
        "mt_return", Packet().eth().ipv4(kMeta4, alias4(slot, index)).tcp(80, 1, "A").bytes());
    if (outcome.verdict != "REDIRECT") {
      return {};
    }
    Address guest{AF_INET, {}};
    std::copy_n(&outcome.bytes[14 + 16], 4, guest.bytes.begin());
    return guest.text();
  }
};

TEST_F(Learning, NeverPushesOutAConfiguredAddress) {
  for (const bool six : {false, true}) {
    const std::string fixed = six ? "2001:db8::5" : "10.0.0.5";
    const int index = ask(11, fixed);
    ASSERT_EQ(index, six ? 1 : 0);
    for (unsigned n = 0; n < 3 * MT_LEARNED_MAX; ++n) {
      const auto source =
          six ? Address::parse("2001:db8:7::" + std::to_string(40 + n % 40)).value().text()
              : "10.7.0." + std::to_string(16 + n % 16);
      ASSERT_GE(ask(11, source), MT_FIRST_LEARNED) << source;
    }
    EXPECT_EQ(ask(11, fixed), index);
  }
  EXPECT_EQ(answered(kPrefix, 0), "10.0.0.5");
}

TEST_F(Learning, RemembersTheLatestAndForgetsTheRest) {
  const auto source = [](unsigned n) { return "192.0.2." + std::to_string(n); };
  for (unsigned n = 0; n < MT_LEARNED_MAX; ++n) {
    ASSERT_EQ(ask(9, source(n)), static_cast<int>(MT_FIRST_LEARNED + n));
  }
  EXPECT_EQ(ask(9, source(0)), MT_FIRST_LEARNED) << "known";
  EXPECT_EQ(ask(9, "198.51.100.1"), MT_FIRST_LEARNED) << "the oldest makes room";
  EXPECT_EQ(answered(kLearning, MT_FIRST_LEARNED), "198.51.100.1");
  EXPECT_EQ(ask(9, source(0)), MT_FIRST_LEARNED + 1) << "no row of it was left";
  EXPECT_EQ(ask(9, source(2)), MT_FIRST_LEARNED + 2);
  EXPECT_EQ(kernel().rows_of(kLearning), MT_LEARNED_MAX);
}

TEST_F(Learning, AnswersGoToTheMacThatWasSeen) {
  EXPECT_EQ(ask(13, "10.0.0.5", kWrongMac), 0);
  const auto outcome = kernel().run(
      "mt_return", Packet().eth().ipv4(kMeta4, alias4(kAnyMac)).tcp(80, 1, "A").bytes());
  EXPECT_EQ(testing::to_hex(Bytes(outcome.bytes.begin(), outcome.bytes.begin() + 6)),
            testing::to_hex(testing::mac_bytes(kWrongMac)));
}

TEST_F(Learning, OfADeviceWithoutAPortAnAddressKeepsItsAliasAndItsMac) {
  for (const bool six : {false, true}) {
    const auto source = [&](unsigned n) {
      return (six ? "2001:db8:9::" : "10.9.9.") + std::to_string(n + 1);
    };
    const int first = six ? 1 : 0;
    for (int n = 0; n < MT_UNKNOWN_MAX; ++n) {
      ASSERT_EQ(ask(16, source(static_cast<unsigned>(n))), first + n);
    }
    EXPECT_EQ(ask(16, source(MT_UNKNOWN_MAX)), -1) << "none takes another's place";
    EXPECT_EQ(ask(16, source(1)), first + 1);
    EXPECT_EQ(ask(16, source(1), kWrongMac), -1) << "it was seen with another MAC first";
    EXPECT_EQ(ask(16, source(1)), first + 1);
  }
  EXPECT_EQ(ask(16, "fe80::9"), 0);
  EXPECT_EQ(ask(16, "fe80::9", kWrongMac), -1);
  EXPECT_EQ(ask(16, "fe80::9"), 0);
  EXPECT_EQ(answered(kUnknown, 1), "10.9.9.2");
  const auto met = AddressMaps(&kernel().core().programs->maps()).met({kUnknown, kGeneration});
  ASSERT_TRUE(met);
  EXPECT_EQ(met->addresses.addresses.size(), 2U * MT_UNKNOWN_MAX + 1U);
  for (const auto& own : met->addresses.addresses) {
    EXPECT_EQ(to_string(own.mac), kGuestMac) << own.address.text();
  }
}

/// A program that has read that no port has the slot may go on learning while the port comes: who
/// names the slot either knows of the address, or finds that one is being learned.
TEST_F(Learning, NothingIsLearnedUnseenWhileThePortComes) {
  using Clock = std::chrono::steady_clock;
  const auto& maps = kernel().core().programs->maps();
  const AddressMaps addresses(&maps);
  const auto unknown = maps.slots.get(kUnknown).value().value();
  auto named = unknown;
  named.flags &= ~MT_SLOT_LEARN;
  std::atomic<int> round{0}, asked{0};
  const auto source = [](int number) {
    return Address{AF_INET,
                   {11, static_cast<std::uint8_t>(number >> 16),
                    static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)}};
  };
  constexpr int kOver = -1;
  std::thread guest([&] {
    for (int number = 1; round != kOver; ++number) {
      const auto in =
          Packet().eth().vlan(16).ipv4(source(number).text(), kMeta4).tcp(1, 80, "S").bytes();
      while (round != number && round != kOver) {
        std::this_thread::yield();
      }
      (void)kernel().run("mt_tap", in);
      asked = number;
    }
  });
  int unseen = 0;
  std::minstd_rand random;
  const auto end = Clock::now() + std::chrono::seconds(1);
  for (int number = 1; Clock::now() < end; ++number) {
    EXPECT_TRUE(maps.slots.put(kUnknown, unknown));
    EXPECT_TRUE(maps.counters.put(kUnknown, mt_counter{}));
    EXPECT_TRUE(maps.aliases.erase({kUnknown, kGeneration, MT_FAMILY_V4, 0}));
    round = number;
    for (auto pause = random() % 4096; pause != 0; --pause) {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    // As SlotTable::name() does.
    EXPECT_TRUE(maps.slots.put(kUnknown, named));
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const auto met = addresses.met({kUnknown, kGeneration}).value();
    const auto again = addresses.met({kUnknown, kGeneration}).value();
    while (asked != number) {
      std::this_thread::yield();
    }
    mt_address_key key{kUnknown, kGeneration, MT_FAMILY_V4, {}};
    std::copy_n(source(number).bytes.begin(), 4, key.address);
    const bool learned = maps.addresses.erase(key).value();
    const bool taken = met.whole && again.as_many_as(met);
    unseen += taken && learned && met.addresses.find(source(number)) == nullptr ? 1 : 0;
  }
  round = kOver;
  guest.join();
  EXPECT_EQ(unseen, 0);
}

/// The budget of new connections of one port.
class Budget : public WithKernel {
 protected:
  /// `everybodys` is empty after one connection, or there is none.
  static void set(bool everybodys, std::uint16_t own, std::uint32_t flags = 0) {
    auto& kernel = Kernel::instance();
    const auto& maps = kernel.core().programs->maps();
    kernel.reset_rows();
    kernel.listen(true);
    kernel.configure(everybodys);
    auto row = maps.slots.get(kStrict).value().value();
    row.syn_rate = own;
    row.flags |= flags;
    ASSERT_TRUE(maps.slots.put(kStrict, row));
    ASSERT_TRUE(maps.buckets.put(kStrict, mt_bucket{}));
  }
  /// How many of so many attempts by turns over IPv4 and IPv6 come through.
  static int steered(int attempts) {
    auto& kernel = Kernel::instance();
    int steered = 0;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      const auto in = (attempt % 2 == 0 ? v4() : v6()).tcp(40000, 80, "S").bytes();
      steered += kernel.run("mt_tap", in).verdict == "REDIRECT" ? 1 : 0;
    }
    return steered;
  }
};

TEST_F(Budget, IsOneForBothFamilies) {
  set(true, 0);
  EXPECT_EQ(steered(10), 1);
}

TEST_F(Budget, APortsOwnCountsInPlaceOfEverybodys) {
  set(true, 65'535);
  EXPECT_EQ(steered(100), 100);
  // All that it may within ten seconds is taken.
  set(false, 1);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const mt_bucket taken{
      static_cast<std::uint64_t>(std::chrono::nanoseconds(now + std::chrono::seconds(10)).count())};
  ASSERT_TRUE(Kernel::instance().core().programs->maps().buckets.put(kStrict, taken));
  EXPECT_EQ(steered(10), 0);
}

TEST_F(Budget, APortMayHaveNone) {
  set(true, 0, MT_SLOT_NO_BUDGET);
  EXPECT_EQ(steered(10), 10);
  set(true, 1, MT_SLOT_NO_BUDGET);
  EXPECT_EQ(steered(10), 10);
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Tap, Program, ::testing::ValuesIn(tap_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Return, Program, ::testing::ValuesIn(return_cases()), case_name);

TEST(ProgramTable, CoversEveryReasonOfTheTapPrograms) {
  // A helper that fails without a kernel fault cannot be had by a packet.
  std::set<std::string, std::less<>> seen = {"rewrite_failed", "return_failed"};
  for (const auto& c : tap_cases()) {
    seen.insert(c.reason);
  }
  for (const auto& c : return_cases()) {
    seen.insert(c.reason);
  }
  for (const auto& reason : reasons()) {
    if (reason.name.starts_with("router_")) {
      continue;
    }
    EXPECT_TRUE(seen.contains(reason.name)) << "no case for reason " << reason.name;
  }
}

}  // namespace
}  // namespace metatap::dataplane
