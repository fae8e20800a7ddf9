// SPDX-License-Identifier: Apache-2.0
// Which sockets a segment belongs to, by the state of a real one: with the listener there, and
// after it has gone.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

#include "bpf/packet.hpp"
#include "bpf/private_namespace.hpp"
#include "dataplane/alias.hpp"
#include "dataplane/core.hpp"
#include "dataplane/guest_socket.hpp"
#include "sys/sock_diag.hpp"

namespace metatap::dataplane {
namespace {

using testing::Packet;

constexpr std::uint32_t kSlot = 20, kPlace = 3;
constexpr std::uint16_t kPort = 4000;
constexpr unsigned kLoopback = 1;  ///< its number in every namespace
constexpr const char* kGuest4 = "10.0.0.5";
constexpr const char* kGuest6 = "fe80::1234";

/// What to do to a new connection, and what is said of it then.
struct State {
  std::string name;
  std::uint8_t kernel;  ///< as the kernel names it
  bool closing;         ///< what is left: in nobody's way
  std::function<void(UniqueFd& client, UniqueFd& server)> make;
  bool half_open = false;
};

void fill(const UniqueFd& server) {
  const std::vector<char> much(8 << 20);
  EXPECT_GT(::send(server.get(), much.data(), much.size(), MSG_DONTWAIT), 0);
}

std::vector<State> states() {
  return {
      {"SynRecv", TCP_SYN_RECV, false, [](auto&, auto&) {}, true},
      {"Established", TCP_ESTABLISHED, false, [](auto&, auto&) {}},
      {"CloseWait", TCP_CLOSE_WAIT, false,
       [](auto& client, auto&) { ::shutdown(client.get(), SHUT_WR); }},
      {"FinWait1", TCP_FIN_WAIT1, true,
       [](auto&, auto& server) {
         fill(server);
         server.reset();
       }},
      {"FinWait2", TCP_FIN_WAIT2, true,
       [](auto&, auto& server) { ::shutdown(server.get(), SHUT_WR); }},
      {"FinWait2Orphan", TCP_FIN_WAIT2, true, [](auto&, auto& server) { server.reset(); }},
      {"LastAck", TCP_LAST_ACK, true,
       [](auto& client, auto& server) {
         ::shutdown(client.get(), SHUT_WR);
         fill(server);
         server.reset();
       }},
      {"TimeWait", TCP_TIME_WAIT, true,
       [](auto& client, auto& server) {
         server.reset();
         client.reset();
       }},
  };
}

enum class Way { tap, router };

/// The programs, loaded once: they do not mind in which namespace they are asked.
std::shared_ptr<Core> loaded() {
  static const testing::TemporaryPins kPins;
  static const std::shared_ptr<Core> kCore = [] {
    DataPlaneOptions options;
    options.pin_path = kPins.path();
    options.slots = 64;
    return Core::with_bpf(options).value();
  }();
  return kCore;
}

/// A namespace with the service's addresses and, as its own, those under which it sees the guest.
class Scene {
 public:
  Scene(Way way, int family) : way_(way), family_(family), core_(loaded()) {
    auto netlink = sys::Netlink::open().value();
    const auto lo = netlink.link("lo")->index;
    EXPECT_TRUE(netlink.set_up(lo));
    EXPECT_TRUE(netlink.add_veth({"closing0", {}}, {"closing1", {}}));
    device_ = netlink.link("closing0")->index;
    EXPECT_TRUE(netlink.set_up(device_));
    EXPECT_TRUE(netlink.set_up(netlink.link("closing1")->index));
    auto config = core_->programs->config().value();
    config.nsid = -1;  // the namespace of the device itself
    config.veth_ifindex = device_;
    EXPECT_TRUE(core_->programs->set_config(config));
    // Devices have the same numbers in every scene.
    mt_flow flow{};
    const int elsewhere = core_->programs->map("mt_elsewhere");
    while (::bpf_map_get_next_key(elsewhere, nullptr, &flow) == 0) {
      ::bpf_map_delete_elem(elsewhere, &flow);
    }

    const auto guest = Address::parse(family == AF_INET ? kGuest4 : kGuest6).value();
    mt_slot row{};
    row.kind = way == Way::tap ? MT_KIND_TAP : MT_KIND_ROUTER_DEVICE;
    row.flags = MT_SLOT_LEARN | MT_SLOT_ANY_MAC;
    row.ifindex = device_;
    put("mt_slots", kSlot, row);
    if (way == Way::tap) {
      put("mt_ports", mt_port_key{device_, 0, 0}, kSlot);
      // IPv4 is the first address that is learned, link-local IPv6 is none of them.
      const std::uint32_t index = family == AF_INET ? MT_FIRST_LEARNED : MT_LINK_LOCAL;
      const Alias alias{kSlot, 0, index};
      peer_ = family == AF_INET ? alias.v4() : alias.v6(guest);
      service_ = family == AF_INET ? metadata_v4() : metadata_v6();
    } else {
      serve(true);
      peer_ = family == AF_INET ? guest : Address::parse("fd00::5").value();
      service_ = family == AF_INET ? inner_v4() : inner_v6();
    }
    const unsigned whole = family == AF_INET ? 32 : 128;
    EXPECT_TRUE(netlink.add_address(lo, peer_, whole));
    EXPECT_TRUE(netlink.add_address(lo, service_, whole));
    listener_ = listen(family);
    // The gate asks for v4, whatever the packet.
    other_ = way == Way::tap && family == AF_INET6 ? listen(AF_INET, &netlink) : UniqueFd();
  }

  /// New connections from the device are for us, or are turned away.
  void serve(bool wanted) {
    const mt_device_key key{kPlace, device_};
    if (wanted) {
      put("mt_devices", key, kSlot);
    } else {
      EXPECT_EQ(::bpf_map_delete_elem(core_->programs->map("mt_devices"), &key), 0);
    }
  }
  void stop_listening() {
    listener_.reset();
    other_.reset();
  }

  void connect(const State& state) {
    if (state.half_open) {
      const int seconds = 30;  // the handshake's last ACK alone does not open it
      ::setsockopt(listener_.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds));
    }
    client_.reset(::socket(family_, SOCK_STREAM, 0));
    const timeval patience{2, 0};
    ::setsockopt(client_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    const int small = 4096;
    ::setsockopt(client_.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    const auto local = socket_address(peer_, kPort), remote = socket_address(service_, 80);
    ASSERT_EQ(::bind(client_.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local)), 0);
    // The kernel's own IPv6 routes come a moment after the addresses.
    int connected = -1;
    for (int i = 0; i < 100 && connected != 0; ++i) {
      connected =
          ::connect(client_.get(), reinterpret_cast<const sockaddr*>(&remote), sizeof(remote));
      if (connected != 0) {
        ASSERT_EQ(errno, ENETUNREACH) << std::strerror(errno);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
    ASSERT_EQ(connected, 0);
    if (!state.half_open) {
      server_.reset(::accept(listener_.get(), nullptr, nullptr));
      ASSERT_TRUE(server_);
    }
    state.make(client_, server_);
  }

  /// Is the service's side in that state, as `ss` shows it? Its peer may take a moment.
  bool reaches(std::uint8_t wanted) {
    for (int i = 0; i < 200 && state() != wanted; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return state() == wanted;
  }
  static std::uint8_t state() {
    const auto sockets = sys::SockDiag::open()->tcp_sockets();
    EXPECT_TRUE(sockets);
    for (const auto& socket : *sockets) {
      if (socket.local_port == 80 && socket.peer_port == kPort) {
        return socket.state;
      }
    }
    return 0;
  }

  /// The reason with which the guest's next segment leaves the program.
  std::string segment(std::string_view flags = "A") {
    const auto before = count_reasons(*core_->programs);
    auto packet = Packet().eth();
    if (family_ == AF_INET) {
      packet.ipv4(kGuest4, "169.254.169.254");
    } else {
      packet.ipv6(way_ == Way::tap ? kGuest6 : "fd00::5", "fe80::a9fe:a9fe");
    }
    const auto in = packet.tcp(kPort, 80, flags).bytes();
    auto out = in;
    out.resize(in.size() + 64);
    __sk_buff context{};
    context.ifindex = device_;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in.data(), .data_out = out.data(),
                .data_size_in = static_cast<std::uint32_t>(in.size()),
                .data_size_out = static_cast<std::uint32_t>(out.size()), .ctx_in = &context,
                .ctx_size_in = sizeof(context));
    EXPECT_EQ(::bpf_prog_test_run_opts(
                  core_->programs->program(way_ == Way::tap ? "mt_tap" : "mt_router"), &options),
              0);
    const auto after = count_reasons(*core_->programs);
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (after[i].packets != before[i].packets) {
        return after[i].name;
      }
    }
    return "nothing";
  }

 private:
  template <class Key, class Value>
  void put(const char* map, const Key& key, const Value& value) {
    EXPECT_EQ(::bpf_map_update_elem(core_->programs->map(map), &key, &value, BPF_ANY), 0) << map;
  }

  UniqueFd listen(int family, sys::Netlink* netlink = nullptr) {
    if (way_ == Way::router) {
      auto fd = open_guest_socket({service_, 0, -1}).value();
      const mt_listener where{kPlace, 0};
      put("mt_listeners", fd.get(), where);
      return fd;
    }
    if (netlink != nullptr) {
      EXPECT_TRUE(netlink->add_address(netlink->link("lo")->index, metadata_v4(), 32));
    }
    UniqueFd fd(::socket(family, SOCK_STREAM, 0));
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (family == AF_INET6) {
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    const auto local = socket_address(Address{family, {}}, 80);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local)), 0);
    EXPECT_EQ(::listen(fd.get(), 8), 0);
    return fd;
  }

  static sockaddr_in6 socket_address(const Address& address, std::uint16_t port) {
    sockaddr_in6 into{};
    if (address.family == AF_INET) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      std::memcpy(&v4.sin_addr, address.bytes.data(), 4);
      std::memcpy(&into, &v4, sizeof(v4));
    } else {
      into.sin6_family = AF_INET6;
      into.sin6_port = htons(port);
      std::memcpy(&into.sin6_addr, address.bytes.data(), 16);
      into.sin6_scope_id = address.link_local() ? kLoopback : 0;
    }
    return into;
  }

  Way way_;
  int family_;
  std::shared_ptr<Core> core_;
  unsigned device_ = 0;
  Address peer_, service_;
  UniqueFd listener_, other_, client_, server_;
};

class Closing : public ::testing::TestWithParam<std::tuple<Way, int, State>> {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
  }
  /// Runs `check` with a connection in that state, in a namespace that goes with it.
  void with_connection(const std::function<void(Scene&)>& check) {
    const auto& [way, family, state] = GetParam();
    std::thread([&, way = way, family = family, state = state] {
      ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
      Scene scene(way, family);
      ASSERT_NO_FATAL_FAILURE(scene.connect(state));
      ASSERT_TRUE(scene.reaches(state.kernel)) << "it is in state " << int{Scene::state()};
      check(scene);
    }).join();
  }
  static std::string ours() {
    const auto& [way, family, state] = GetParam();
    return std::string(way == Way::tap ? "steered" : "router") +
           (family == AF_INET ? "_v4" : "_v6");
  }
};

TEST_P(Closing, IsOursWhileSomebodyListens) {
  with_connection([](Scene& scene) { EXPECT_EQ(scene.segment(), ours()); });
}

TEST_P(Closing, EndsInOrderWithNobodyThere) {
  with_connection([](Scene& scene) {
    scene.stop_listening();
    EXPECT_EQ(scene.segment(), ours());
  });
}

TEST_P(Closing, IsInNobodysWayOnceItsPortIsUsedElsewhere) {
  with_connection([](Scene& scene) {
    scene.stop_listening();
    EXPECT_EQ(scene.segment("S"), "no_listener");
    EXPECT_EQ(scene.segment(), std::get<State>(GetParam()).closing ? "other_path" : ours());
  });
}

TEST_P(Closing, IsInNobodysWayWhileWeTurnAway) {
  if (std::get<Way>(GetParam()) == Way::tap) {
    return;  // a tap is let go of with its listeners
  }
  with_connection([](Scene& scene) {
    scene.serve(false);
    EXPECT_EQ(scene.segment(), ours());
    EXPECT_EQ(scene.segment("S"), "router_unknown_device");
    EXPECT_EQ(scene.segment(), std::get<State>(GetParam()).closing ? "other_path" : ours());
    scene.serve(true);
    EXPECT_EQ(scene.segment(), ours());
  });
}

std::string name_of(const ::testing::TestParamInfo<Closing::ParamType>& info) {
  return std::string(std::get<Way>(info.param) == Way::tap ? "Tap" : "Router") +
         (std::get<int>(info.param) == AF_INET ? "V4" : "V6") + std::get<State>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Sockets, Closing,
                         ::testing::Combine(::testing::Values(Way::tap, Way::router),
                                            ::testing::Values(AF_INET, AF_INET6),
                                            ::testing::ValuesIn(states())),
                         name_of);

}  // namespace
}  // namespace metatap::dataplane
