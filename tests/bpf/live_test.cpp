// SPDX-License-Identifier: Apache-2.0
// The tap data plane on the running kernel: guests behind veth pairs, a frontend that answers each
// connection with who it takes the caller for.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "bpf/private_namespace.hpp"
#include "dataplane/callers.hpp"
#include "dataplane/tap_data_plane.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

/// What the programs have learned, from their maps.
class FromMaps : public LearnedAddresses {
 public:
  explicit FromMaps(std::shared_ptr<const SlotTable> slots) : slots_(std::move(slots)) {}
  [[nodiscard]] std::optional<Address> address_of(const Alias& alias, int family) const override {
    return slots_->address_of(alias, family);
  }

 private:
  std::shared_ptr<const SlotTable> slots_;
};

/// Accepts on its listeners and writes "port address" to each caller, then closes.
class EchoFrontend : public GuestFrontend {
 public:
  explicit EchoFrontend(const std::shared_ptr<SlotTable>& slots)
      : callers_(CallerView::map(slots->callers().fd(), slots->callers().slots()).value(),
                 std::make_shared<FromMaps>(slots)) {}
  ~EchoFrontend() override {
    stop_ = true;
    for (auto& [name, thread] : threads_) {
      thread.join();
    }
  }
  void open(GuestListener listener) override {
    const std::string name = listener.name;
    threads_[name] = std::thread([this, resolver = callers_.resolver(listener.callers),
                                  listener = std::move(listener)] { serve(listener, *resolver); });
  }
  void close(const std::string& name) override {
    {
      const std::lock_guard lock(mutex_);
      closed_.push_back(name);
    }
    if (auto found = threads_.find(name); found != threads_.end()) {
      found->second.join();
      threads_.erase(found);
    }
  }
  void publish(const PlaceName& place, AddressTable table) override {
    callers_.publish(place, std::move(table));
  }
  [[nodiscard]] unsigned workers() const override { return 1; }

 private:
  bool closed(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return stop_ || std::ranges::find(closed_, name) != closed_.end();
  }
  void serve(const GuestListener& listener, const CallerResolver& resolver) {
    while (!closed(listener.name)) {
      pollfd ready{listener.fd.get(), POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) {
        continue;
      }
      sockaddr_storage peer{};
      socklen_t size = sizeof(peer);
      const UniqueFd accepted(
          ::accept(listener.fd.get(), reinterpret_cast<sockaddr*>(&peer), &size));
      if (!accepted) {
        continue;
      }
      const auto caller = resolver.caller_of(accepted.get(), peer);
      const std::string text =
          caller.origin ? caller.origin->port_id + " " + caller.address : "nobody";
      (void)!::write(accepted.get(), text.data(), text.size());
    }
  }
  Callers callers_;
  std::map<std::string, std::thread> threads_;
  std::mutex mutex_;
  std::vector<std::string> closed_;
  std::atomic<bool> stop_{false};
};

/// A guest: a namespace with eth0, the other end of whose veth is a device of ours.
class Guest {
 public:
  Guest(std::string device, const std::string& address, const std::string& mac,
        unsigned ifindex = 0)
      : namespace_name_(testing::unique_name("guest")), device_(std::move(device)) {
    auto ns = sys::NetNamespace::create_named(namespace_name_);
    EXPECT_TRUE(ns) << ns.error().message;
    namespace_.emplace(*std::move(ns));
    plug(address, mac, ifindex);
  }
  ~Guest() {
    if (auto netlink = sys::Netlink::open()) {
      if (auto link = netlink->link(device_)) {
        (void)netlink->delete_link(link->index);
      }
    }
    (void)sys::NetNamespace::delete_named(namespace_name_);
  }

  void plug(const std::string& address, const std::string& mac, unsigned ifindex = 0) {
    auto host = sys::Netlink::open();
    ASSERT_TRUE(host);
    if (ifindex != 0) {
      ASSERT_EQ(std::system(fmt::format("ip link add {} index {} type veth peer name eth0 address "
                                        "{} netns {}",
                                        device_, ifindex, mac, namespace_name_)
                                .c_str()),
                0);
    } else {
      const auto made =
          host->add_veth({device_, {}}, {"eth0", parse_mac(mac).value()}, namespace_->fd());
      ASSERT_TRUE(made) << made.error().message;
    }
    ASSERT_TRUE(host->set_up(host->link(device_)->index));
    const auto inside = namespace_->run([&]() -> Status {
      auto netlink = sys::Netlink::open();
      if (!netlink) {
        return tl::make_unexpected(netlink.error());
      }
      const auto eth0 = netlink->link("eth0")->index;
      const auto own = Address::parse(address).value();
      Status done = netlink->set_up(eth0);
      done = done ? netlink->add_address(eth0, own, 24) : done;
      // Two guests with the same link-local address too.
      done = done ? netlink->add_address(eth0, Address::parse("fe80::1234").value(), 64) : done;
      done = done ? netlink->add_route({.destination = Address::parse("169.254.169.254").value(),
                                        .prefix = 32,
                                        .gateway = {},
                                        .ifindex = eth0})
                  : done;
      return done;
    });
    ASSERT_TRUE(inside) << inside.error().message;
  }

  void unplug() {
    auto netlink = sys::Netlink::open();
    auto link = netlink->link(device_);
    ASSERT_TRUE(link);
    ASSERT_TRUE(netlink->delete_link(link->index));
  }

  /// What the metadata service answers; empty: no connection within `patience`.
  std::string ask(int family, std::chrono::milliseconds patience = 2s,
                  const std::string& source = {}) {
    auto answer = namespace_->run([&]() -> Result<std::string> {
      const UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
      int connected = 0;
      if (family == AF_INET) {
        sockaddr_in from{};
        from.sin_family = AF_INET;
        from.sin_port = htons(40000);
        if (!source.empty()) {
          ::inet_pton(AF_INET, source.c_str(), &from.sin_addr);
        }
        const int on = 1;
        ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        const linger gone{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &gone, sizeof(gone));
        if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&from), sizeof(from)) != 0) {
          return fail_errno(errno, "bind");
        }
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(80);
        ::inet_pton(AF_INET, "169.254.169.254", &to.sin_addr);
        connected = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
      } else {
        sockaddr_in6 to{};
        to.sin6_family = AF_INET6;
        to.sin6_port = htons(80);
        ::inet_pton(AF_INET6, "fe80::a9fe:a9fe", &to.sin6_addr);
        auto netlink = sys::Netlink::open();
        to.sin6_scope_id = netlink->link("eth0")->index;
        connected = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
      }
      if (connected != 0 && errno != EINPROGRESS) {
        return fail_errno(errno, "connect");
      }
      pollfd ready{fd.get(), POLLIN, 0};
      if (::poll(&ready, 1, static_cast<int>(patience.count())) <= 0) {
        return std::string();
      }
      char text[256];
      const auto size = ::read(fd.get(), text, sizeof(text));
      return size <= 0 ? std::string() : std::string(text, static_cast<std::size_t>(size));
    });
    EXPECT_TRUE(answer) << answer.error().message;
    return answer.value_or("");
  }

  /// As a guest does whose first attempt comes too early: its kernel repeats an ARP request that
  /// nobody answered after a second, so patience is two of those.
  std::string ask_until_answered(int family = AF_INET) {
    std::string answer;
    for (int i = 0; i < 25 && answer.empty(); ++i) {
      answer = ask(family, 100ms);
    }
    return answer;
  }

  int shell(const std::string& command) {
    return std::system(
        fmt::format("ip netns exec {} sh -c '{}' >/dev/null 2>&1", namespace_name_, command)
            .c_str());
  }

  [[nodiscard]] const sys::NetNamespace& ns() const { return *namespace_; }

 private:
  std::string namespace_name_, device_;
  std::optional<sys::NetNamespace> namespace_;
};

std::shared_ptr<const Port> port(const std::string& id, const std::string& network,
                                 const std::string& address) {
  auto made = std::make_shared<Port>();
  made->id = id;
  made->network_id = network;
  made->mac_address = "52:54:00:00:00:01";
  made->device_owner = "compute:nova";
  made->fixed_ips = {{"subnet", address}};
  return made;
}

constexpr const char* kPortA = "aaaaaaaa-1111-4000-8000-000000000001";
constexpr const char* kPortB = "bbbbbbbb-2222-4000-8000-000000000002";
constexpr const char* kTapA = "tapaaaaaaaa-11";
constexpr const char* kTapB = "tapbbbbbbbb-22";
constexpr const char* kMac = "52:54:00:00:00:01";

class Live : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    testing::enter_private_namespace();
    options_.namespace_name = testing::unique_name("ns");
    options_.pin_path = pins_.path();
    options_.rcu.record = std::filesystem::temp_directory_path() / testing::unique_name("rcu");
    inventory_ = std::make_shared<Inventory>();
    inventory_->ports[kPortA] = port(kPortA, "net-a", "10.0.0.5");
    inventory_->ports[kPortB] = port(kPortB, "net-b", "10.0.0.5");
    begin();
  }
  void TearDown() override {
    if (plane_) {
      end(TapDataPlane::Leave::nothing);
    }
    if (core_) {
      core_->programs->unpin();
    }
  }
  void begin() {
    auto core = Core::with_bpf(options_);
    ASSERT_TRUE(core) << core.error().message;
    core_ = *std::move(core);
    control_.emplace();
    frontend_.emplace(core_->slots);
    reconciler_.emplace(*control_, options_.rcu);
    plane_.emplace(core_, *reconciler_, *control_, *frontend_);
    const auto started = plane_->start(inventory_);
    ASSERT_TRUE(started) << started.error().message;
    thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(*control_);
      control_->run();
    });
  }
  void end(TapDataPlane::Leave leave) {
    on_control([&] { plane_->stop(leave); });
    control_->stop();
    thread_.join();
    plane_.reset();
    reconciler_.reset();
    frontend_.reset();
    if (leave == TapDataPlane::Leave::steering) {
      core_.reset();
    }
  }
  void on_control(const std::function<void()>& f) {
    std::promise<void> done;
    boost::asio::post(*control_, [&] {
      f();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::string state_of(const std::string& id) {
    std::string state;
    on_control([&] {
      for (const auto& device : plane_->devices()) {
        if (device.port_id == id) {
          state = name_of(device.state);
        }
      }
    });
    return state;
  }
  std::string reason_of(const std::string& id) {
    std::string reason;
    on_control([&] {
      for (const auto& device : plane_->devices()) {
        reason += device.port_id == id ? device.reason : "";
      }
    });
    return reason;
  }
  std::uint32_t slot_of(const std::string& id) {
    std::uint32_t slot = 0;
    on_control([&] {
      for (const auto& device : plane_->devices()) {
        if (device.port_id == id) {
          slot = device.slot;
        }
      }
    });
    return slot;
  }
  void restart_with(const std::function<void()>& change) {
    end(TapDataPlane::Leave::nothing);
    core_->programs->unpin();
    core_.reset();
    change();
    begin();
  }
  /// What is attached to A's device: the id of the pinned TCX link, or the handle of our filter; 0:
  /// nothing is.
  std::uint32_t attached() {
    const auto link = sys::Netlink::open()->link(kTapA);
    if (!link) {
      return 0;
    }
    const UniqueFd fd(
        ::bpf_obj_get((options_.pin_path / "links" / fmt::format("tap_{}", link->index)).c_str()));
    bpf_link_info info{};
    std::uint32_t size = sizeof(info);
    if (fd && ::bpf_obj_get_info_by_fd(fd.get(), &info, &size) == 0) {
      return info.id;
    }
    const auto filters = sys::TrafficControl::open()->filters(link->index, TcSide::ingress).value();
    const auto ours = std::ranges::find_if(
        filters, [](const auto& filter) { return filter.name.starts_with("mt_tap"); });
    return ours == filters.end() ? 0 : ours->handle;
  }
  /// A's port goes from the inventory while nobody runs.
  void forgets_what_changed_meanwhile() {
    Guest a(kTapA, "10.0.0.5", kMac);
    ASSERT_TRUE(reaches(kPortA, "steered"));
    const auto slot = slot_of(kPortA);
    end(TapDataPlane::Leave::steering);
    inventory_ = std::make_shared<Inventory>(*inventory_);
    inventory_->ports.erase(kPortA);
    begin();
    EXPECT_EQ(core_->slots->read(slot)->kind, static_cast<std::uint32_t>(MT_KIND_FREE));
    EXPECT_EQ(attached(), 0U) << "nobody's device has no program";
  }
  static bool eventually(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > until) {
        return false;
      }
      std::this_thread::sleep_for(10ms);
    }
    return true;
  }
  bool reaches(const std::string& id, const std::string& wanted) {
    for (int i = 0; i < 100; ++i) {
      if (state_of(id) == wanted) {
        return true;
      }
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }
  std::uint64_t count(std::string_view reason) {
    std::uint64_t packets = 0;
    on_control([&] {
      for (const auto& status : plane_->reasons()) {
        if (status.name == reason) {
          packets = status.packets;
        }
      }
    });
    return packets;
  }
  void change_port(const std::string& id, std::shared_ptr<const Port> to) {
    auto next = std::make_shared<Inventory>(*inventory_);
    if (to) {
      next->ports[id] = std::move(to);
    } else {
      next->ports.erase(id);
    }
    on_control([&] { plane_->apply({inventory_, next, {}, {}, {}, {id}, {}}); });
    inventory_ = next;
  }

  testing::TemporaryPins pins_;
  DataPlaneOptions options_;
  std::shared_ptr<Inventory> inventory_;
  std::shared_ptr<Core> core_;
  std::optional<boost::asio::io_context> control_;
  std::optional<EchoFrontend> frontend_;
  std::optional<Reconciler> reconciler_;
  std::optional<TapDataPlane> plane_;
  std::thread thread_;
};

TEST_F(Live, TwoGuestsWithTheSameAddressesAreToldApart) {
  Guest a(kTapA, "10.0.0.5", kMac);
  Guest b(kTapB, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_TRUE(reaches(kPortB, "steered"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
    EXPECT_EQ(b.ask(AF_INET), std::string(kPortB) + " 10.0.0.5");
    EXPECT_EQ(a.ask(AF_INET6), std::string(kPortA) + " 10.0.0.5");
    EXPECT_EQ(b.ask(AF_INET6), std::string(kPortB) + " 10.0.0.5");
  }
}

TEST_F(Live, PingsAreAnswered) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(a.shell("ping -c 1 -W 2 169.254.169.254"), 0);
  // More than fits a frame: fragments there and back.
  EXPECT_EQ(a.shell("ping -c 1 -W 2 -s 4000 169.254.169.254"), 0);
  EXPECT_EQ(a.shell("ping -6 -c 1 -W 2 fe80::a9fe:a9fe%eth0"), 0);
  EXPECT_EQ(a.shell("ping -6 -c 1 -W 2 -s 4000 fe80::a9fe:a9fe%eth0"), 0);
  EXPECT_GT(count("steered_fragment"), 0U);
}

TEST_F(Live, ADeviceThatComesBackIsItsPortsAgainUnderAnotherSlot) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  const auto slot = slot_of(kPortA);
  for (int i = 0; i < 5; ++i) {
    a.unplug();
    ASSERT_TRUE(reaches(kPortA, "absent"));
    EXPECT_FALSE(core_->slots->find(slot));
    a.plug("10.0.0.5", kMac);
    ASSERT_TRUE(reaches(kPortA, "steered"));
    EXPECT_NE(slot_of(kPortA), slot);
    EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  }
}

TEST_F(Live, AReplugWithoutAPauseIsRight) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  for (int i = 0; i < 10; ++i) {
    a.unplug();
    a.plug("10.0.0.5", kMac);
    EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");
  }
}

TEST_F(Live, ANumberThatGoesToAnotherDeviceDoesNotTakeTheIdentityAlong) {
  std::optional<Guest> a(std::in_place, kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  const auto origin = core_->slots->find(slot_of(kPortA))->origin;
  const unsigned ifindex = sys::Netlink::open()->link(kTapA)->index;
  a->unplug();
  Guest b(kTapB, "10.0.0.5", kMac, ifindex);
  ASSERT_EQ(sys::Netlink::open()->link(kTapB)->index, ifindex);
  EXPECT_EQ(b.ask_until_answered(), std::string(kPortB) + " 10.0.0.5");
  EXPECT_TRUE(origin->revoked());
}

TEST_F(Live, ARenamedDeviceIsTheOtherPorts) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  const auto origin = core_->slots->find(slot_of(kPortA))->origin;
  ASSERT_EQ(std::system(fmt::format("ip link set {} down; ip link set {} name {} && ip link set "
                                    "{} up",
                                    kTapA, kTapA, kTapB, kTapB)
                            .c_str()),
            0);
  ASSERT_TRUE(reaches(kPortB, "steered"));
  EXPECT_EQ(state_of(kPortA), "absent");
  EXPECT_TRUE(origin->revoked());
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortB) + " 10.0.0.5");
  ASSERT_EQ(std::system(fmt::format("ip link del {}", kTapB).c_str()), 0);
}

TEST_F(Live, AdminDownRefusesAndUpServesAgain) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  const auto origin = core_->slots->find(slot_of(kPortA))->origin;
  auto down = std::make_shared<Port>(*inventory_->ports[kPortA]);
  down->admin_state_up = false;
  change_port(kPortA, down);
  EXPECT_EQ(state_of(kPortA), "disabled");
  EXPECT_TRUE(origin->revoked());
  const auto refused = count("port_disabled");
  EXPECT_EQ(a.ask(AF_INET, 300ms), "");
  EXPECT_GT(count("port_disabled"), refused);
  auto up = std::make_shared<Port>(*down);
  up->admin_state_up = true;
  change_port(kPortA, up);
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");

  // The same by the network.
  auto next = std::make_shared<Inventory>(*inventory_);
  auto network = std::make_shared<Network>();
  network->id = "net-a";
  network->admin_state_up = false;
  next->networks["net-a"] = network;
  on_control([&] { plane_->apply({inventory_, next, {"net-a"}, {}, {}, {}, {}}); });
  EXPECT_EQ(state_of(kPortA), "disabled");
  inventory_ = next;
}

TEST_F(Live, AnAddressThatIsNotThePortsIsDroppedUntilItIs) {
  Guest a(kTapA, "10.0.0.9", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(a.ask(AF_INET, 300ms), "");
  EXPECT_GT(count("spoofed_v4"), 0U);
  const auto slot = slot_of(kPortA);
  change_port(kPortA, port(kPortA, "net-a", "10.0.0.9"));
  EXPECT_EQ(slot_of(kPortA), slot) << "an address alone does not change the identity";
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.9");
}

TEST_F(Live, ALearningPortMayUseAnyAddress) {
  auto learning = std::make_shared<Port>(*inventory_->ports[kPortA]);
  learning->fixed_ips.clear();
  learning->address_policy = AddressPolicy::learn;
  change_port(kPortA, learning);
  Guest a(kTapA, "172.16.3.4", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 172.16.3.4");
  EXPECT_EQ(a.ask(AF_INET6), std::string(kPortA) + " fe80::1234");
}

TEST_F(Live, TheOlderOfTwoPortsKeepsTheDevice) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  constexpr const char* kPortC = "00000000-3333-4000-8000-000000000003";  // sorts before A
  auto rival = std::make_shared<Port>(*port(kPortC, "net-c", "10.0.0.5"));
  rival->device = kTapA;
  change_port(kPortC, rival);
  EXPECT_EQ(state_of(kPortA), "steered");
  EXPECT_EQ(state_of(kPortC), "conflict");
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  change_port(kPortA, nullptr);
  EXPECT_EQ(state_of(kPortC), "steered");
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortC) + " 10.0.0.5");
}

TEST_F(Live, OfPortsWithOneDeviceTheOneThatIsBoundHereHasIt) {
  restart_with([&] { options_.host = "here"; });
  constexpr const char* kVnet = "mtvnet0";
  constexpr const char* kPortC = "00000000-3333-4000-8000-000000000003";  // sorts before A
  const auto binds = [&](const char* id, const char* host, const char* next_host = "") {
    auto bound = std::make_shared<Port>(*port(id, "net-a", "10.0.0.5"));
    bound->device = kVnet;
    bound->host = host;
    bound->next_host = next_host;
    change_port(id, bound);
  };
  Guest guest(kVnet, "10.0.0.5", kMac);
  binds(kPortC, "there");
  ASSERT_TRUE(reaches(kPortC, "elsewhere"));
  EXPECT_EQ(reason_of(kPortC), "the port is bound to host 'there', and this is 'here'");
  EXPECT_EQ(guest.ask(AF_INET, 300ms), "") << "it is no guest of this inventory";

  binds(kPortA, "here");
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(state_of(kPortC), "") << "nothing here is about it any more";
  EXPECT_EQ(guest.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  on_control([&] {
    EXPECT_EQ(plane_->sight(kPortC)->state, DeviceState::elsewhere);
    const auto bindings = plane_->bindings();
    EXPECT_EQ(bindings.here, 1U);
    EXPECT_EQ(bindings.elsewhere, 1U);
  });

  binds(kPortA, "here", "yonder");
  EXPECT_EQ(guest.ask(AF_INET), std::string(kPortA) + " 10.0.0.5") << "until it has left";
  binds(kPortA, "yonder");
  ASSERT_TRUE(reaches(kPortC, "elsewhere"));
  EXPECT_EQ(guest.ask(AF_INET, 300ms), "");
  binds(kPortA, "yonder", "here");
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(guest.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");

  // A crash leaves its row, and the port is another host's when the next process comes.
  end(TapDataPlane::Leave::steering);
  auto moved = std::make_shared<Port>(*inventory_->ports[kPortA]);
  moved->next_host.clear();
  inventory_->ports[kPortA] = moved;
  begin();
  EXPECT_EQ(slot_of(kPortA), 0U);
  EXPECT_EQ(guest.ask(AF_INET, 300ms), "");
}

TEST_F(Live, APortWithoutADeviceIsReportedByItsName) {
  EXPECT_EQ(reason_of(kPortA), std::string("no device named ") + kTapA);
}

TEST_F(Live, ADeviceOfNoPortIsNobodysWhereAPatternSaysItIsOurs) {
  restart_with([&] { options_.devices = {{"tap*"}}; });
  Guest stranger("tapstranger", "10.0.0.5", kMac);
  EXPECT_EQ(stranger.ask_until_answered(), " ") << "neither a port nor an address";
  EXPECT_GT(count("steered_unknown"), 0U);
}

TEST_F(Live, DevicesOfNoPortLeaveNumbersToPorts) {
  restart_with([&] {
    options_.devices = {{"tap*"}};
    options_.slots = 20;  // of which the first 16 are never used
  });
  std::vector<std::unique_ptr<Guest>> strangers;
  for (int n = 0; n < 4; ++n) {
    strangers.push_back(
        std::make_unique<Guest>("tapstranger" + std::to_string(n), "10.0.0.5", kMac));
  }
  EXPECT_EQ(strangers.back()->ask(AF_INET, 300ms), "");
  Guest a(kTapA, "10.0.0.5", kMac);
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");
}

TEST_F(Live, APortThatComesGetsTheNumberOfADeviceOfNoPort) {
  restart_with([&] {
    options_.devices = {{"tap*"}};
    options_.slots = 20;
    options_.quarantine = 0s;
  });
  std::vector<std::unique_ptr<Guest>> strangers;
  for (int n = 0; n < 3; ++n) {
    strangers.push_back(
        std::make_unique<Guest>("tapstranger" + std::to_string(n), "10.0.0.5", kMac));
  }
  const auto waiting = [&] {
    std::size_t count = 0;
    on_control([&] {
      plane_->look_now();
      count = plane_->without_port();
    });
    return count;
  };
  ASSERT_TRUE(eventually([&] { return waiting() == 3; }));
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  Guest b(kTapB, "10.0.0.5", kMac);
  EXPECT_TRUE(eventually([&] { return waiting() < 3 && state_of(kPortB) == "steered"; }));
  EXPECT_EQ(b.ask_until_answered(), std::string(kPortB) + " 10.0.0.5");
  a.unplug();
  b.unplug();
  EXPECT_TRUE(eventually([&] { return waiting() == 3; })) << "and gives it back";
}

TEST_F(Live, PortsComeFirstAtTheStart) {
  Guest stranger("tap0", "10.0.0.5", kMac), another("tap1", "10.0.0.5", kMac);
  Guest a(kTapA, "10.0.0.5", kMac), b(kTapB, "10.0.0.5", kMac);
  restart_with([&] {
    options_.devices = {{"tap*"}};
    options_.slots = 19;
  });
  EXPECT_EQ(state_of(kPortA), "steered");
  EXPECT_EQ(state_of(kPortB), "steered");
}

TEST_F(Live, ATrunkCarriesAPortOnEachTag) {
  auto tagged = std::make_shared<Port>(*port(kPortB, "net-b", "10.0.7.5"));
  tagged->device = kTapA;
  tagged->vlan = 7;
  change_port(kPortB, tagged);
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_TRUE(reaches(kPortB, "steered"));
  if (a.shell("ip link add link eth0 name eth0.7 type vlan id 7") != 0) {
    GTEST_SKIP() << "this kernel has no VLAN devices (8021q) for the guest";
  }
  ASSERT_EQ(a.shell("ip addr add 10.0.7.5/24 dev eth0.7 && ip link set eth0.7 up"), 0);
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  ASSERT_EQ(a.shell("ip route del 169.254.169.254/32 && "
                    "ip route add 169.254.169.254/32 dev eth0.7 src 10.0.7.5"),
            0);
  EXPECT_EQ(a.ask(AF_INET), std::string(kPortB) + " 10.0.7.5");
}

TEST_F(Live, WithoutAListenerPacketsGoOnAndComeBackWithIt) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  end(TapDataPlane::Leave::steering);
  EXPECT_EQ(a.ask(AF_INET, 300ms), "");
  begin();
  EXPECT_GT(count("no_listener"), 0U);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");
}

TEST_F(Live, ARestartTakesOverSlotsAndLinksInPlace) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  const auto slot = slot_of(kPortA);
  const auto before = attached();
  ASSERT_NE(before, 0U);
  end(TapDataPlane::Leave::steering);
  EXPECT_EQ(attached(), before) << "the program stays while nobody runs";
  begin();
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(slot_of(kPortA), slot);
  EXPECT_EQ(attached(), before) << "updated in place, not attached again";
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");
}

TEST_F(Live, ARestartForgetsWhatChangedMeanwhile) {
  forgets_what_changed_meanwhile();
}

TEST_F(Live, ARestartForgetsWhatChangedMeanwhileWithFilters) {
  restart_with([&] { options_.attach = AttachMode::clsact; });
  forgets_what_changed_meanwhile();
}

TEST_F(Live, ANumberThatIsGivenAgainIsOfTheNextGeneration) {
  restart_with([&] {
    options_.slots = MT_TAG_LOWEST + 2;
    options_.quarantine = {};
  });
  auto& slots = *core_->slots;
  const auto addresses = PortAddresses::of(*inventory_->ports[kPortA]);
  std::map<std::uint32_t, std::uint32_t> generation;
  for (unsigned i = 0; i < 40; ++i) {
    mt_slot row{};
    row.kind = MT_KIND_TAP;
    row.ifindex = 1;
    const auto origin = std::make_shared<Origin>();
    const auto slot = slots.add(row, origin, addresses);
    ASSERT_TRUE(slot) << slot.error().message;
    const auto now = slots.read(*slot)->generation;
    if (const auto former = generation.find(*slot); former != generation.end()) {
      EXPECT_EQ(now, (former->second + 1) % 16);
      EXPECT_FALSE(slots.address_of({*slot, former->second, 0}, AF_INET));
    }
    EXPECT_EQ(slots.address_of({*slot, now, 0}, AF_INET)->text(), "10.0.0.5");
    generation[*slot] = now;
    slots.remove(*slot);
    slots.rest(*slot);
    EXPECT_FALSE(slots.address_of({*slot, now, 0}, AF_INET));
    EXPECT_EQ(slots.read(*slot)->kind, static_cast<std::uint32_t>(MT_KIND_FREE));
    EXPECT_EQ(slots.read(*slot)->generation, now) << "the next owner's must follow it";
  }
  EXPECT_EQ(generation.size(), 2U);
}

TEST_F(Live, AddressesThatFindNoRoomAreWrittenWhenThereIsSome) {
  Guest a(kTapA, "10.0.0.9", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  const int map = core_->programs->map("mt_addresses");
  std::vector<mt_address_key> others;
  const mt_address nothing{};
  for (mt_address_key key{MT_TAG_MASK, 0, MT_FAMILY_V4, {}};; others.push_back(key)) {
    const auto number = static_cast<std::uint32_t>(others.size());
    std::memcpy(key.address, &number, sizeof(number));
    if (::bpf_map_update_elem(map, &key, &nothing, BPF_ANY) != 0) {
      break;
    }
  }
  auto more = std::make_shared<Port>(*inventory_->ports[kPortA]);
  more->fixed_ips.push_back({"subnet", "10.0.0.9"});
  change_port(kPortA, more);
  EXPECT_EQ(a.ask(AF_INET, 300ms), "");
  EXPECT_THAT(reason_of(kPortA), ::testing::HasSubstr("10.0.0.9"));
  for (const auto& key : others) {
    ::bpf_map_delete_elem(map, &key);
  }
  change_port(kPortA, more);
  EXPECT_EQ(reason_of(kPortA), "");
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.9");
}

TEST_F(Live, AddressesThatChangeWhileNobodyRunsAreNotThePortsAnyMore) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_EQ(a.ask(AF_INET), std::string(kPortA) + " 10.0.0.5");
  const auto slot = slot_of(kPortA);
  end(TapDataPlane::Leave::steering);
  inventory_ = std::make_shared<Inventory>(*inventory_);
  inventory_->ports[kPortA] = port(kPortA, "net-a", "10.0.0.9");
  begin();
  ASSERT_TRUE(reaches(kPortA, "steered"));
  EXPECT_EQ(slot_of(kPortA), slot);
  EXPECT_EQ(a.ask(AF_INET, 300ms), "");
  EXPECT_GT(count("spoofed_v4"), 0U);
}

TEST_F(Live, StoppingLeavesNothing) {
  Guest a(kTapA, "10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_NE(attached(), 0U);
  end(TapDataPlane::Leave::nothing);
  EXPECT_EQ(attached(), 0U);
  EXPECT_TRUE(AddressMaps(&core_->programs->maps()).read().value().empty());
  core_->programs->unpin();
  core_.reset();
  EXPECT_FALSE(std::filesystem::exists(options_.pin_path));
  EXPECT_FALSE(sys::NetNamespace::open(options_.namespace_name));
  EXPECT_FALSE(
      sys::Netlink::open()->link(MetadataNamespace::host_device_of(options_.namespace_name)));
}

TEST_F(Live, ClsactWorksAndLeavesAQdiscThatWasThere) {
  restart_with([&] { options_.attach = AttachMode::clsact; });
  Guest a(kTapA, "10.0.0.5", kMac);
  Guest b(kTapB, "10.0.0.5", kMac);
  a.unplug();
  a.plug("10.0.0.5", kMac);
  ASSERT_TRUE(reaches(kPortA, "steered"));
  ASSERT_TRUE(reaches(kPortB, "steered"));
  EXPECT_EQ(a.ask_until_answered(), std::string(kPortA) + " 10.0.0.5");
  EXPECT_EQ(b.ask_until_answered(), std::string(kPortB) + " 10.0.0.5");
  // B's device gets a qdisc of somebody else's before it is attached again.
  change_port(kPortB, nullptr);
  const auto qdisc = [](const char* device) {
    return std::system(fmt::format("tc qdisc show dev {} | grep -q clsact", device).c_str()) == 0;
  };
  EXPECT_FALSE(qdisc(kTapB)) << "ours is taken away";
  ASSERT_EQ(std::system(fmt::format("tc qdisc add dev {} clsact", kTapB).c_str()), 0);
  change_port(kPortB, port(kPortB, "net-b", "10.0.0.5"));
  ASSERT_TRUE(reaches(kPortB, "steered"));
  EXPECT_EQ(b.ask_until_answered(), std::string(kPortB) + " 10.0.0.5");
  change_port(kPortB, nullptr);
  EXPECT_TRUE(qdisc(kTapB)) << "theirs stays";
}

TEST_F(Live, OneDaemonAPinPath) {
  const auto second = Core::with_bpf(options_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
  EXPECT_THAT(second.error().message, ::testing::HasSubstr(options_.pin_path.string()));
}

TEST_F(Live, MapsOfANewerVersionAreRefusedInWords) {
  end(TapDataPlane::Leave::steering);
  {
    const UniqueFd map(::bpf_obj_get((options_.pin_path / "mt_config").c_str()));
    mt_config config{};
    const std::uint32_t zero = 0;
    ASSERT_EQ(::bpf_map_lookup_elem(map.get(), &zero, &config), 0);
    config.abi_version = MT_ABI_VERSION + 1;
    ASSERT_EQ(::bpf_map_update_elem(map.get(), &zero, &config, BPF_ANY), 0);
  }
  const auto refused = Core::with_bpf(options_);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("newer metatap"));
  std::filesystem::remove_all(options_.pin_path);
  begin();
}

/// Many devices at start and stop: what a big host waits for.
/// What it takes is printed; bench/run.sh measures it.
TEST_F(Live, ManyDevicesComeAndGoTogether) {
  constexpr int kDevices = 200;
  end(TapDataPlane::Leave::nothing);
  core_->programs->unpin();
  core_.reset();
  auto netlink = sys::Netlink::open();
  for (int i = 0; i < kDevices; ++i) {
    const auto id = fmt::format("{:08x}-{:04x}-4000-8000-000000000000", i, i);
    inventory_->ports[id] = port(id, "net-a", "10.0.0.5");
    ASSERT_TRUE(netlink->add_veth({"tap" + id.substr(0, 11), {}}, {fmt::format("p{}", i), {}}));
  }
  const auto start = std::chrono::steady_clock::now();
  begin();
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(core_->slots->allocator().in_use(), static_cast<std::size_t>(kDevices));
  end(TapDataPlane::Leave::nothing);
  const auto stopped = std::chrono::steady_clock::now();
  const auto ms = [](auto span) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(span).count();
  };
  std::cout << kDevices << " devices: start " << ms(started - start) << " ms, stop "
            << ms(stopped - started) << " ms\n";
  for (int i = 0; i < kDevices; ++i) {
    (void)netlink->delete_link(netlink->link(fmt::format("p{}", i))->index);
  }
}

}  // namespace
}  // namespace metatap::dataplane
