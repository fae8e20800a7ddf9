// SPDX-License-Identifier: Apache-2.0
// The tap data plane on the running kernel: guests behind veth pairs, a frontend that answers each
// connection with who it takes the caller for.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "bpf/private_namespace.hpp"
#include "dataplane/tap_data_plane.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

/// Accepts on its listeners and writes "port address" to each caller, then closes.
class EchoFrontend : public GuestFrontend {
 public:
  ~EchoFrontend() override {
    stop_ = true;
    for (auto& [name, thread] : threads_) {
      thread.join();
    }
  }
  void open(GuestListener listener) override {
    const std::string name = listener.name;
    threads_[name] = std::thread([this, listener = std::move(listener)] { serve(listener); });
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
  [[nodiscard]] unsigned workers() const override { return 1; }

 private:
  bool closed(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return stop_ || std::ranges::find(closed_, name) != closed_.end();
  }
  void serve(const GuestListener& listener) {
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
      const auto caller = listener.resolver->caller_of(accepted.get(), peer);
      const std::string text =
          caller.origin ? caller.origin->port_id + " " + caller.address : "nobody";
      (void)!::write(accepted.get(), text.data(), text.size());
    }
  }
  std::map<std::string, std::thread> threads_;
  std::mutex mutex_;
  std::vector<std::string> closed_;
  std::atomic<bool> stop_{false};
};

/// A guest: a namespace with eth0, the other end of whose veth is a device of ours.
class Guest {
 public:
  Guest(std::string device, std::string address, std::string mac)
      : namespace_name_(testing::unique_name("guest")), device_(std::move(device)) {
    auto ns = sys::NetNamespace::create_named(namespace_name_);
    EXPECT_TRUE(ns) << ns.error().message;
    namespace_.emplace(*std::move(ns));
    plug(address, mac);
  }
  ~Guest() {
    if (auto netlink = sys::Netlink::open()) {
      if (auto link = netlink->link(device_)) {
        (void)netlink->delete_link(link->index);
      }
    }
    (void)sys::NetNamespace::delete_named(namespace_name_);
  }

  void plug(const std::string& address, const std::string& mac) {
    auto host = sys::Netlink::open();
    ASSERT_TRUE(host);
    const auto made =
        host->add_veth({device_, {}}, {"eth0", sys::parse_mac(mac).value()}, namespace_->fd());
    ASSERT_TRUE(made) << made.error().message;
    ASSERT_TRUE(host->set_up(host->link(device_)->index));
    const auto inside = namespace_->run([&]() -> Status {
      auto netlink = sys::Netlink::open();
      if (!netlink) {
        return tl::make_unexpected(netlink.error());
      }
      const auto eth0 = netlink->link("eth0")->index;
      const auto own = sys::IpAddress::parse(address).value();
      Status done = netlink->set_up(eth0);
      done = done ? netlink->add_address(eth0, own, 24) : done;
      // Two guests with the same link-local address too.
      done =
          done ? netlink->add_address(eth0, sys::IpAddress::parse("fe80::1234").value(), 64) : done;
      done =
          done
              ? netlink->add_route({.destination = sys::IpAddress::parse("169.254.169.254").value(),
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
    frontend_.emplace();
    plane_.emplace(core_, *control_, *frontend_);
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
          state = device.state;
        }
      }
    });
    return state;
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

}  // namespace
}  // namespace metatap::dataplane
