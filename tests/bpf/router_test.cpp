// SPDX-License-Identifier: Apache-2.0
// mt_router, mt_router_out and mt_tagged over a table of packets, each reason covered.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>
#include <optional>
#include <set>

#include "bpf/packet.hpp"
#include "bpf/private_namespace.hpp"
#include "bpf/test_run.hpp"
#include "dataplane/core.hpp"
#include "dataplane/guest_socket.hpp"

namespace metatap::dataplane {
namespace {

using testing::Bytes;
using testing::Packet;

constexpr const char* kMeta4 = "169.254.169.254";
constexpr const char* kMeta6 = "fe80::a9fe:a9fe";
constexpr const char* kInner4 = "240.254.98.254";
constexpr const char* kInner6 = "fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe";
constexpr const char* kGuest4 = "10.0.0.10";
constexpr const char* kGuest6 = "fd00::10";
constexpr const char* kMac = "fa:16:3e:00:00:10";
constexpr const char* kRouterMac = "fa:16:3e:ff:00:01";

enum Slot : std::uint32_t {
  kDevice = 20,
  kPort = 21,
  kDisabled = 22,
  kOffDevice = 23,
  kClosed = 24
};
constexpr std::uint32_t kPlace = 3;

/// What is there when the packet comes.
enum class Scene {
  listening,
  nobody,           ///< no listener
  other_namespace,  ///< the listener is of a namespace in which the device is nobody's
  device_off,       ///< admin_state_up is false on the device's network
  no_budget,
  connected,  ///< a half-open connection from kGuest4:4000 and kGuest6:4000
};

struct Case {
  std::string name;
  Packet in;
  std::string verdict;  ///< UNSPEC or SHOT
  std::string reason;
  std::uint32_t mark = 0;
  std::optional<Packet> out{};  ///< absent: not a byte may change
  Scene scene = Scene::listening;
  std::string program = "mt_router";
};

class Kernel {
 public:
  static Kernel& instance() {
    static Kernel kernel;
    return kernel;
  }

  void set(Scene scene) {
    v4_.reset();
    v6_.reset();
    auto config = core_->programs->config().value();
    config.sample = 1;
    config.syn_interval_ns = scene == Scene::no_budget ? 3'600'000'000'000ULL : 0;
    config.syn_burst_ns = 0;
    ASSERT_TRUE(core_->programs->set_config(config));
    const mt_bucket full{scene == Scene::no_budget ? ~0ULL : 0};
    const std::uint32_t port = kPort;
    ::bpf_map_update_elem(map("mt_buckets"), &port, &full, BPF_ANY);
    const mt_device_key key{kPlace, device_};
    const std::uint32_t slot = scene == Scene::device_off ? kOffDevice : kDevice;
    ASSERT_EQ(::bpf_map_update_elem(map("mt_devices"), &key, &slot, BPF_ANY), 0);
    if (scene == Scene::nobody) {
      return;
    }
    const mt_listener where{scene == Scene::other_namespace ? kPlace + 1 : kPlace, 0};
    for (auto* fd : {&v4_, &v6_}) {
      auto opened = open_guest_socket({fd == &v4_ ? inner_v4() : inner_v6(), 0, -1});
      ASSERT_TRUE(opened) << opened.error().message;
      *fd = *std::move(opened);
      const int socket = fd->get();
      ASSERT_EQ(::bpf_map_update_elem(map("mt_listeners"), &socket, &where, BPF_ANY), 0);
    }
    if (scene == Scene::connected) {
      connect();
    }
  }

  testing::Outcome run(const std::string& program, const Bytes& in) {
    return testing::test_run(core_->programs->program(program), in, device_);
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
  [[nodiscard]] int map(std::string_view name) const { return core_->programs->map(name); }
  [[nodiscard]] Core& core() { return *core_; }

 private:
  Kernel() {
    testing::enter_private_namespace();
    auto netlink = sys::Netlink::open().value();
    const auto lo = netlink.link("lo")->index;
    EXPECT_TRUE(netlink.set_up(lo));
    for (const auto& address : {inner_v4(), inner_v6()}) {
      sys::Route route;
      route.destination = address;
      route.prefix = address.family == AF_INET ? 32 : 128;
      route.ifindex = lo;
      route.local = true;
      EXPECT_TRUE(netlink.add_route(route));
    }
    // Guests that the namespace itself plays, to have a connection.
    EXPECT_TRUE(netlink.add_address(lo, *Address::parse(kGuest4), 32));
    EXPECT_TRUE(netlink.add_address(lo, *Address::parse(kGuest6), 128));
    EXPECT_TRUE(netlink.add_veth({"routed0", {}}, {"routed1", {}}));
    device_ = netlink.link("routed0")->index;
    DataPlaneOptions options;
    options.pin_path = pins_.path();
    options.slots = 64;
    auto core = Core::with_bpf(options);
    EXPECT_TRUE(core) << core.error().message;
    core_ = *core;
    slot(kDevice, MT_KIND_ROUTER_DEVICE, 0);
    slot(kOffDevice, MT_KIND_ROUTER_DEVICE, MT_SLOT_DISABLED);
    slot(kPort, MT_KIND_ROUTER_PORT, 0);
    slot(kDisabled, MT_KIND_ROUTER_PORT, MT_SLOT_DISABLED);
    source(MT_FAMILY_V4, testing::ip_bytes(kGuest4), kPort);
    source(MT_FAMILY_V6, testing::ip_bytes(kGuest6), kPort);
    source(MT_FAMILY_MAC, testing::mac_bytes(kMac), kPort);
    source(MT_FAMILY_V4, testing::ip_bytes("10.0.0.66"), kDisabled);
    slot(kClosed, MT_KIND_ROUTER_PORT, MT_SLOT_REFUSE_FORWARDED);
    source(MT_FAMILY_V4, testing::ip_bytes("10.0.0.67"), kClosed);
  }

  void slot(std::uint32_t number, std::uint32_t kind, std::uint32_t flags) {
    mt_slot row{};
    row.kind = kind;
    row.flags = flags;
    row.ifindex = device_;
    ASSERT_EQ(::bpf_map_update_elem(map("mt_slots"), &number, &row, BPF_ANY), 0);
  }

  void source(std::uint32_t family, const Bytes& bytes, std::uint32_t number) {
    mt_source_key key{};
    key.device_slot = kDevice;
    key.family = family;
    std::memcpy(key.address, bytes.data(), bytes.size());
    ASSERT_EQ(::bpf_map_update_elem(map("mt_sources"), &key, &number, BPF_ANY), 0);
  }

  void connect() {
    for (const int family : {AF_INET, AF_INET6}) {
      auto& client = clients_[family == AF_INET ? 0 : 1];
      client.reset(::socket(family, SOCK_STREAM, 0));
      const int on = 1;
      const linger now{1, 0};  // the ports are free again at once
      ::setsockopt(client.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
      sockaddr_storage local{}, remote{};
      fill(local, family, family == AF_INET ? kGuest4 : kGuest6, 4000);
      fill(remote, family, family == AF_INET ? kInner4 : kInner6, 80);
      ASSERT_EQ(::bind(client.get(), reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
      ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&remote), sizeof(remote)), 0)
          << std::strerror(errno);
    }
  }

  static void fill(sockaddr_storage& into, int family, const char* address, std::uint16_t port) {
    const auto bytes = testing::ip_bytes(address);
    if (family == AF_INET) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      std::memcpy(&v4.sin_addr, bytes.data(), 4);
      std::memcpy(&into, &v4, sizeof(v4));
    } else {
      sockaddr_in6 v6{};
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      std::memcpy(&v6.sin6_addr, bytes.data(), 16);
      std::memcpy(&into, &v6, sizeof(v6));
    }
  }

  testing::TemporaryPins pins_;
  std::shared_ptr<Core> core_;
  unsigned device_ = 0;
  UniqueFd v4_, v6_;
  std::array<UniqueFd, 2> clients_;
};

Packet v4(std::string_view source = kGuest4, std::string_view to = kMeta4) {
  return Packet().eth(kMac, kRouterMac).ipv4(source, to);
}

Packet v6(std::string_view source = kGuest6, std::string_view to = kMeta6) {
  return Packet().eth(kMac, kRouterMac).ipv6(source, to);
}

Packet stranger_v6(std::string_view to) {
  return Packet().eth("fa:16:3e:99:99:99", kRouterMac).ipv6("fe80::99", to);
}

Packet error_v4(const char* outer, const char* inner) {
  return v4("10.0.0.1", outer)
      .icmp(3, 4, 1400)
      .payload(Packet().eth().ipv4(inner, kGuest4).tcp(80, 4000, "A").l3(28));
}

Packet error_v6(const char* outer, const char* inner) {
  return v6("fe80::1", outer)
      .icmp(2, 0, 1280)
      .payload(Packet().eth().ipv6(inner, kGuest6).tcp(80, 4000, "A").l3(48));
}

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](Case c) { all.push_back(std::move(c)); };

  add({"OrdinaryV4", v4(kGuest4, "10.9.9.9").tcp(4000, 80, "S"), "UNSPEC", "not_metadata"});
  add({"OrdinaryV6", v6(kGuest6, "fd00::1").tcp(4000, 80, "S"), "UNSPEC", "not_metadata"});
  add({"OtherPort", v4().tcp(4000, 443, "S"), "UNSPEC", "other_port"});
  add({"OtherPortV6", v6().tcp(4000, 443, "S"), "UNSPEC", "other_port"});
  add({"Udp", v4().udp(4000, 80), "UNSPEC", "other_protocol"});
  add({"UdpV6", v6().udp(4000, 80), "UNSPEC", "other_protocol"});
  add({"Ping", v4().icmp(8), "UNSPEC", "other_protocol"});
  add({"PingV6", v6().icmp(128), "UNSPEC", "other_protocol"});
  add({"ExtensionHeader", v6().extension(0).tcp(4000, 80, "S"), "UNSPEC", "router_other_headers"});
  add({"CutTcp", v4().tcp(4000, 80, "S").cut(14 + 20 + 8), "SHOT", "malformed"});
  add({"CutTcpV6", v6().tcp(4000, 80, "S").cut(14 + 40 + 8), "SHOT", "malformed"});
  add({"TinyFragment",
       Packet()
           .eth(kMac, kRouterMac)
           .ipv4(kGuest4, kMeta4, {.fragment = 0x2000})
           .tcp(4000, 80, "S")
           .cut(14 + 20 + 8),
       "SHOT", "tiny_fragment"});

  add({"SynV4", v4().tcp(4000, 80, "S"), "UNSPEC", "router_v4", kPort,
       v4(kGuest4, kInner4).tcp(4000, 80, "S")});
  add({"SynV6", v6().tcp(4000, 80, "S"), "UNSPEC", "router_v6", kPort,
       v6(kGuest6, kInner6).tcp(4000, 80, "S")});
  add({"SynWithOptions",
       Packet()
           .eth(kMac, kRouterMac)
           .ipv4(kGuest4, kMeta4, {.options = Bytes(8, 1)})
           .tcp(4000, 80, "S"),
       "UNSPEC", "router_v4", kPort,
       Packet()
           .eth(kMac, kRouterMac)
           .ipv4(kGuest4, kInner4, {.options = Bytes(8, 1)})
           .tcp(4000, 80, "S")});
  const auto hops = [](std::string_view from, std::string_view to, std::uint8_t ttl) {
    return Packet().eth(kMac, kRouterMac).ipv4(from, to, {.ttl = ttl}).tcp(4000, 80, "S");
  };
  add({"Forwarded", hops(kGuest4, kMeta4, 63), "UNSPEC", "steered_forwarded", kPort,
       hops(kGuest4, kInner4, 63)});
  add({"ForwardedAndRefused", hops("10.0.0.67", kMeta4, 63), "SHOT", "forwarded_inside"});
  add({"OfItsOwnWhereNobodyElseMay", hops("10.0.0.67", kMeta4, 128), "UNSPEC", "router_v4", kClosed,
       hops("10.0.0.67", kInner4, 128)});
  add({"AnyLinkLocalAddressIsTheMacs", v6("fe80::1234:5678").tcp(4000, 80, "S"), "UNSPEC",
       "router_v6", kPort, v6("fe80::1234:5678", kInner6).tcp(4000, 80, "S")});
  add({"PrivacyAddressIsTheMacs", v6("fd00::9999").tcp(4000, 80, "S"), "UNSPEC", "router_v6", kPort,
       v6("fd00::9999", kInner6).tcp(4000, 80, "S")});
  add({"UnknownSourceV4", v4("10.0.0.77").tcp(4000, 80, "S"), "UNSPEC", "router_unknown_source",
       kDevice, v4("10.0.0.77", kInner4).tcp(4000, 80, "S")});
  add({"UnknownSourceV6", stranger_v6(kMeta6).tcp(4000, 80, "S"), "UNSPEC", "router_unknown_source",
       kDevice, stranger_v6(kInner6).tcp(4000, 80, "S")});
  add({"DisabledPort", v4("10.0.0.66").tcp(4000, 80, "S"), "SHOT", "port_disabled"});
  add({"DisabledNetwork",
       v4().tcp(4000, 80, "S"),
       "SHOT",
       "port_disabled",
       0,
       {},
       Scene::device_off});
  add({"NoBudget", v4().tcp(4000, 80, "S"), "SHOT", "syn_budget", 0, {}, Scene::no_budget});
  add({"NoBudgetV6", v6().tcp(4000, 80, "S"), "SHOT", "syn_budget", 0, {}, Scene::no_budget});
  add({"NobodyListens", v4().tcp(4000, 80, "S"), "UNSPEC", "no_listener", 0, {}, Scene::nobody});
  add({"NobodyListensV6", v6().tcp(4000, 80, "S"), "UNSPEC", "no_listener", 0, {}, Scene::nobody});
  add({"DeviceOfNobody",
       v4().tcp(4000, 80, "S"),
       "UNSPEC",
       "router_unknown_device",
       0,
       {},
       Scene::other_namespace});
  add({"BeganElsewhere", v4().tcp(4000, 80, "PA"), "UNSPEC", "other_path"});
  add({"BeganElsewhereV6", v6().tcp(4000, 80, "PA"), "UNSPEC", "other_path"});
  add({"OursGoesOn", v4().tcp(4000, 80, "A"), "UNSPEC", "router_v4", 0,
       v4(kGuest4, kInner4).tcp(4000, 80, "A"), Scene::connected});
  add({"OursGoesOnV6", v6().tcp(4000, 80, "A"), "UNSPEC", "router_v6", 0,
       v6(kGuest6, kInner6).tcp(4000, 80, "A"), Scene::connected});
  add({"AnotherPortOfItIsNotOurs",
       v4().tcp(4001, 80, "A"),
       "UNSPEC",
       "other_path",
       0,
       {},
       Scene::connected});
  add({"LaterFragment",
       Packet()
           .eth(kMac, kRouterMac)
           .ipv4(kGuest4, kMeta4, {.fragment = 0x0010})
           .protocol(6)
           .payload("data"),
       "UNSPEC", "router_fragment", 0,
       Packet()
           .eth(kMac, kRouterMac)
           .ipv4(kGuest4, kInner4, {.fragment = 0x0010})
           .protocol(6)
           .payload("data")});
  add({"ErrorAboutOurs", error_v4(kMeta4, kMeta4), "UNSPEC", "router_error", 0,
       error_v4(kInner4, kInner4), Scene::connected});
  add({"ErrorAboutOursV6", error_v6(kMeta6, kMeta6), "UNSPEC", "router_error", 0,
       error_v6(kInner6, kInner6), Scene::connected});
  add({"ErrorAboutAnother", error_v4(kMeta4, kMeta4), "UNSPEC", "other_path"});
  add({"ErrorAboutAnotherV6", error_v6(kMeta6, kMeta6), "UNSPEC", "other_path"});

  const auto out = [&](Case c) {
    c.program = "mt_router_out";
    add(std::move(c));
  };
  out({"AnswerV4", v4(kInner4, kGuest4).tcp(80, 4000, "SA"), "UNSPEC", "router_answer_v4", 0,
       v4(kMeta4, kGuest4).tcp(80, 4000, "SA")});
  out({"AnswerV6", v6(kInner6, kGuest6).tcp(80, 4000, "SA"), "UNSPEC", "router_answer_v6", 0,
       v6(kMeta6, kGuest6).tcp(80, 4000, "SA")});
  out({"OutOrdinaryV4", v4("10.0.0.1", kGuest4).tcp(80, 4000, "SA"), "UNSPEC", "not_metadata"});
  out({"OutOrdinaryV6", v6("fd00::1", kGuest6).tcp(80, 4000, "SA"), "UNSPEC", "not_metadata"});
  return all;
}

class RouterProgram : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const auto why = testing::missing_privilege(); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }
};

TEST_P(RouterProgram, DoesWhatTheTableSays) {
  const auto& c = GetParam();
  auto& kernel = Kernel::instance();
  kernel.set(c.scene);
  if (HasFatalFailure()) {
    return;
  }
  const auto before = kernel.count(c.reason);
  const auto in = c.in.bytes();
  const auto outcome = kernel.run(c.program, in);
  EXPECT_EQ(outcome.verdict, c.verdict);
  EXPECT_EQ(kernel.count(c.reason), before + 1) << c.reason;
  EXPECT_EQ(outcome.mark, c.mark);
  const auto expected = c.out ? c.out->bytes() : in;
  EXPECT_EQ(testing::to_hex(outcome.bytes), testing::to_hex(expected));
}

std::string case_name(const ::testing::TestParamInfo<Case>& tested) {
  return tested.param.name;
}

INSTANTIATE_TEST_SUITE_P(Router, RouterProgram, ::testing::ValuesIn(cases()), case_name);

TEST(RouterListener, LetsInOnlyTaggedConnections) {
  if (const auto why = testing::missing_privilege(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  auto& kernel = Kernel::instance();
  kernel.set(Scene::nobody);
  auto listener = open_guest_socket({inner_v4(), 0, kernel.core().programs->program("mt_tagged")});
  ASSERT_TRUE(listener) << listener.error().message;
  const auto before = kernel.count("router_untagged");
  const auto attempt = [](std::uint32_t mark) {
    const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    ::setsockopt(client.get(), SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(80);
    std::memcpy(&to.sin_addr, inner_v4().bytes.data(), 4);
    (void)::connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
    int error = 0;
    socklen_t size = sizeof(error);
    sockaddr_in peer{};
    socklen_t peer_size = sizeof(peer);
    ::getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return ::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
  };
  EXPECT_FALSE(attempt(0));
  EXPECT_FALSE(attempt(1));           // Neutron's mark for metadata
  EXPECT_FALSE(attempt(0x04000002));  // an address scope, and Neutron's mark for external
  EXPECT_EQ(kernel.count("router_untagged"), before + 3);
  EXPECT_TRUE(attempt(kPort));
  EXPECT_TRUE(attempt(0x04000000 | kPort));
}

TEST(RouterTable, CoversEveryReasonOfTheRouterPrograms) {
  // Of router_untagged the test above takes care.
  std::set<std::string, std::less<>> seen = {"router_untagged"};
  for (const auto& c : cases()) {
    seen.insert(c.reason);
  }
  for (const auto& reason : reasons()) {
    if (reason.name.starts_with("router_")) {
      EXPECT_TRUE(seen.contains(reason.name)) << "no case for reason " << reason.name;
    }
  }
}

}  // namespace
}  // namespace metatap::dataplane
