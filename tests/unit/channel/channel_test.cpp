// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>

#include "channel/archive.hpp"
#include "channel/link.hpp"
#include "channel/messages.hpp"
#include "channel/socket.hpp"

namespace metatap::channel {
namespace {

using ::testing::HasSubstr;

/// The head of a message as it crosses, to be spoilt.
struct Head {
  std::uint32_t magic = 0x6d746368;
  std::uint16_t version = kVersion, type = 7;
  std::uint64_t length = 0;
  std::uint8_t descriptors = 0, in_file = 0, pad[6] = {};
};

std::string bytes_of(const Head& head, std::string body = {}) {
  return std::string(reinterpret_cast<const char*>(&head), sizeof(head)) + body;
}

class SocketTest : public ::testing::Test {
 protected:
  /// Sends these very bytes, with these descriptors.
  void raw(const std::string& bytes, std::vector<int> descriptors = {}) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(32 * sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
      auto* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size() * sizeof(int));
    }
    ASSERT_EQ(::sendmsg(a_.fd(), &message, 0), static_cast<ssize_t>(bytes.size()));
  }
  std::string refusal(ErrorCode code = ErrorCode::invalid) {
    const auto got = b_.receive();
    EXPECT_FALSE(got);
    EXPECT_EQ(got ? ErrorCode::internal : got.error().code, code);
    return got ? std::string() : got.error().message;
  }
  static int open_files() {
    int count = 0;
    for (int fd = 0; fd < 256; ++fd) {
      count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return count;
  }

  std::pair<Socket, Socket> pair_ = Socket::pair().value();
  Socket& a_ = pair_.first;
  Socket& b_ = pair_.second;
};

TEST_F(SocketTest, CarriesWordsAndDescriptors) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const UniqueFd read(pipe[0]), write(pipe[1]);
  ASSERT_TRUE(a_.send(42, "words", std::array{write.get()}).value());
  auto frame = b_.receive().value();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->type, 42);
  EXPECT_EQ(frame->body, "words");
  ASSERT_EQ(frame->descriptors.size(), 1U);
  EXPECT_EQ(::fcntl(frame->descriptors[0].get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(::write(frame->descriptors[0].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(read.get(), &byte, 1), 1);
  EXPECT_FALSE(b_.receive().value()) << "nothing more";
}

TEST_F(SocketTest, WhatIsTooLongForAPacketComesWholeAllTheSame) {
  std::string body(3 * kMostInline + 17, 'x');
  body.back() = 'y';
  ASSERT_TRUE(a_.send(1, body, std::array{b_.fd()}).value());
  const auto frame = b_.receive().value();
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->body, body);
  EXPECT_EQ(frame->descriptors.size(), 1U) << "its own file is not among them";
}

TEST_F(SocketTest, TheEndIsSaid) {
  pair_.first = Socket(UniqueFd());
  const auto got = b_.receive();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::unavailable);
  const auto sent = b_.send(1, "x");
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::unavailable);
}

TEST_F(SocketTest, NoRoomIsNoError) {
  int sent = 0;
  while (a_.send(1, std::string(kMostInline, 'x')).value()) {
    ASSERT_LT(++sent, 10'000);
  }
  EXPECT_GT(sent, 0);
  ASSERT_TRUE(b_.receive().value());
  EXPECT_TRUE(a_.send(1, "x").value());
}

TEST_F(SocketTest, AMessageThatBreaksOffIsRefused) {
  raw("mt");
  EXPECT_THAT(refusal(), HasSubstr("breaks off"));
  raw(bytes_of({.length = 10}, "short"));
  EXPECT_THAT(refusal(), HasSubstr("length"));
  raw(bytes_of({.length = 2}, "too long"));
  EXPECT_THAT(refusal(), HasSubstr("length"));
}

TEST_F(SocketTest, AnotherVersionIsRefusedByName) {
  raw(bytes_of({.version = kVersion + 1}));
  EXPECT_THAT(refusal(ErrorCode::unsupported), HasSubstr("version 4, ours is 3"));
}

TEST_F(SocketTest, SomethingElseIsRefused) {
  raw(bytes_of({.magic = 0x47455420}));
  EXPECT_THAT(refusal(), HasSubstr("none"));
}

TEST_F(SocketTest, DescriptorsThatDoNotArriveAreMissed) {
  const auto before = open_files();
  raw(bytes_of({.descriptors = 2}), {a_.fd()});
  EXPECT_THAT(refusal(), HasSubstr("2 descriptors belong to it, 1 arrived"));
  raw(bytes_of({}), {a_.fd(), b_.fd()});
  EXPECT_THAT(refusal(), HasSubstr("0 descriptors belong to it, 2 arrived"));
  raw(bytes_of({.descriptors = 20}), std::vector<int>(20, a_.fd()));
  EXPECT_THAT(refusal(), HasSubstr("not all of its descriptors"));
  EXPECT_EQ(open_files(), before) << "none is left over";
}

TEST_F(SocketTest, LongerThanAMessageMayBeIsRefused) {
  raw(bytes_of({.length = kMostInline + 100}, std::string(kMostInline + 100, 'x')));
  EXPECT_THAT(refusal(), HasSubstr("longer"));
  raw(bytes_of({.length = kMostBytes + 1, .in_file = 1}), {a_.fd()});
  EXPECT_THAT(refusal(), HasSubstr("length"));
}

TEST_F(SocketTest, AFileThatIsShorterThanSaidOrNoneIsRefused) {
  const UniqueFd file(::memfd_create("short", MFD_CLOEXEC));
  ASSERT_EQ(::write(file.get(), "abc", 3), 3);
  raw(bytes_of({.length = 100'000, .in_file = 1}), {file.get()});
  EXPECT_THAT(refusal(), HasSubstr("breaks off"));
  raw(bytes_of({.length = 100'000, .in_file = 1}), {a_.fd()});
  EXPECT_THAT(refusal(), HasSubstr("no file"));
}

// ---- messages ----

Port port(std::string id) {
  Port port;
  port.id = std::move(id);
  port.network_id = "n";
  port.mac_address = "fa:16:3e:00:00:01";
  port.device_id = "i";
  port.fixed_ips = {{"", "10.0.0.5"}, {"", "fd00::5"}};
  port.allowed_address_pairs = {{"10.9.0.0/16", "fa:16:3e:00:00:02"}, {"10.8.0.1", std::nullopt}};
  port.device = "vnet7";
  port.vlan = 42;
  port.host = "h-1";
  port.next_host = "h-2";
  port.address_policy = AddressPolicy::learn;
  port.mac_policy = MacPolicy::any;
  port.admin_state_up = false;
  port.access.forwarded_inside = ForwardedInside::refuse;
  port.access.syn_rate = 300;
  return port;
}

std::shared_ptr<Inventory> inventory() {
  auto all = std::make_shared<Inventory>();
  all->revision = 7;
  all->networks["n"] = std::make_shared<const Network>(Network{"n", {}, {}, {}, false});
  Subnet subnet;
  subnet.id = "s";
  subnet.network_id = "n";
  subnet.cidr = "10.0.0.0/24";
  subnet.ip_version = 6;
  all->subnets["s"] = std::make_shared<const Subnet>(subnet);
  all->routers["r"] = std::make_shared<const Router>(Router{"r", {}, {}, false});
  all->ports["p"] = std::make_shared<const Port>(port("p"));
  return all;
}

TEST(Messages, AnInventoryArrivesAsItIs) {
  const auto sent = inventory();
  auto news = decode<InventoryNews>(encode(news_of(*sent))).value();
  EXPECT_TRUE(news.whole);
  ASSERT_TRUE(check(news));
  const auto got = follow(std::make_shared<const Inventory>(), std::move(news)).after;
  EXPECT_EQ(got->revision, 7U);
  EXPECT_EQ(*got->networks.at("n"), *sent->networks.at("n"));
  EXPECT_EQ(*got->subnets.at("s"), *sent->subnets.at("s"));
  EXPECT_EQ(*got->routers.at("r"), *sent->routers.at("r"));
  EXPECT_EQ(*got->ports.at("p"), *sent->ports.at("p"));
}

TEST(Messages, AChangeIsWhatCameWhatIsOtherAndWhatWent) {
  const auto before = inventory();
  auto after = std::make_shared<Inventory>(*before);
  after->revision = 8;
  after->ports["q"] = std::make_shared<const Port>(port("q"));
  after->ports.erase("p");
  InventoryChange change;
  change.before = before;
  change.after = after;
  change.ports = {"q", "p"};
  auto news = decode<InventoryNews>(encode(news_of(change))).value();
  EXPECT_FALSE(news.whole);
  EXPECT_TRUE(news.networks.empty());
  const auto got = follow(before, std::move(news));
  EXPECT_EQ(got.before, before);
  EXPECT_EQ(got.after->revision, 8U);
  EXPECT_FALSE(got.after->ports.contains("p"));
  EXPECT_EQ(*got.after->ports.at("q"), port("q"));
  EXPECT_EQ(got.ports, (std::vector<std::string>{"q", "p"}));
  EXPECT_TRUE(got.networks.empty());
}

TEST(Messages, OneThatTellsOfInstancesAloneHasNothingToSay) {
  InventoryChange change;
  change.before = change.after = inventory();
  change.instances = {"i"};
  EXPECT_TRUE(news_of(change).empty());
}

TEST(Messages, WhatAnInstanceSaysOfItsPortIsTold) {
  const auto before = inventory();
  auto quiet = port("p");
  quiet.access = {};
  before->ports["p"] = std::make_shared<const Port>(quiet);
  const auto after = std::make_shared<Inventory>(*before);
  Instance instance;
  instance.uuid = "i";
  instance.access.forwarded_inside = ForwardedInside::allow;
  instance.access.syn_rate = 50;
  after->instances["i"] = std::make_shared<const Instance>(instance);
  InventoryChange change;
  change.before = before;
  change.after = after;
  change.instances = {"i"};
  auto got = follow(before, decode<InventoryNews>(encode(news_of(change))).value());
  EXPECT_EQ(got.after->ports.at("p")->access.forwarded_inside, ForwardedInside::allow);
  EXPECT_EQ(got.after->ports.at("p")->access.syn_rate, 50);
  EXPECT_EQ(got.ports, std::vector<std::string>{"p"});
  EXPECT_EQ(news_of(*after).ports.at(0).access.forwarded_inside, ForwardedInside::allow);
  // The port's own word comes first.
  after->ports["p"] = std::make_shared<const Port>(port("p"));
  change.ports = {"p"};
  EXPECT_EQ(news_of(change).ports.size(), 1U);
  EXPECT_EQ(news_of(change).ports.at(0).access.forwarded_inside, ForwardedInside::refuse);
  EXPECT_EQ(news_of(change).ports.at(0).access.syn_rate, 300);
}

TEST(Messages, WhatNoInventoryWouldLetInIsRefused) {
  const auto refused = [](auto spoil) {
    InventoryNews news;
    news.ports.push_back(port("p"));
    spoil(news);
    const auto good = check(news);
    return good ? std::string("taken") : good.error().message;
  };
  EXPECT_EQ(refused([](auto&) {}), "taken");
  EXPECT_THAT(refused([](auto& n) { n.ports[0].id = "../../x"; }), HasSubstr("id"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].id = std::string(37, 'x'); }), HasSubstr("id"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].network_id = ""; }), HasSubstr("network"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].device = "a/b"; }), HasSubstr("device"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].device = std::string(16, 'x'); }),
              HasSubstr("device"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].vlan = 4095; }), HasSubstr("VLAN"));
  EXPECT_THAT(refused([](auto& n) { n.networks.push_back(Network{"a b", {}, {}, {}, true}); }),
              HasSubstr("network"));
  EXPECT_THAT(refused([](auto& n) { n.ports[0].device_owner = std::string(300, 'x'); }),
              HasSubstr("too long"));
}

TEST(Messages, ATableOfAddressesArrivesAsItIs) {
  Publish sent{{Path::dhcp, "n"}, {}};
  sent.table.known.push_back({*Address::parse("10.0.0.5"), 3, {17, 4}});
  sent.table.devices.push_back({3, {*Prefix::parse("fd00::/64")}, {18, 5}});
  const auto got = decode<Publish>(encode(sent)).value();
  EXPECT_EQ(got.place, sent.place);
  EXPECT_EQ(got.table.known[0].address, *Address::parse("10.0.0.5"));
  EXPECT_EQ(got.table.known[0].ifindex, 3U);
  EXPECT_EQ(got.table.known[0].tenant, (AddressTable::Tenant{17, 4}));
  EXPECT_EQ(got.table.devices[0].subnets, std::vector{*Prefix::parse("fd00::/64")});
  EXPECT_EQ(got.table.devices[0].tenant, (AddressTable::Tenant{18, 5}));
}

/// Cut anywhere, or with any byte changed: refused or another value, never more than that.
TEST(Messages, SpoiltOnesDoNoHarm) {
  const auto whole = encode(news_of(*inventory()));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(decode<InventoryNews>(whole.substr(0, cut))) << cut;
  }
  EXPECT_FALSE(decode<InventoryNews>(whole + "x"));
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int change : {0x01, 0x80, 0xff}) {
      auto spoilt = whole;
      spoilt[at] = static_cast<char>(spoilt[at] ^ change);
      (void)decode<InventoryNews>(spoilt);
    }
  }
}

TEST(Messages, AnEnumBeyondItsLastValueIsRefused) {
  auto look = encode(Look{1, View::unready});
  ASSERT_TRUE(decode<Look>(look));
  look.back() = static_cast<char>(look.back() + 1);
  EXPECT_FALSE(decode<Look>(look));
}

// ---- links ----

class LinkTest : public ::testing::Test {
 protected:
  void start() {
    b_.start(
        [this](Frame frame) -> Status {
          frames_.push_back(std::move(frame));
          return frames_.back().type == 99 ? fail(ErrorCode::invalid, "99") : Status();
        },
        [this](Error error) { end_ = std::move(error); });
  }
  boost::asio::io_context loop_;
  std::pair<Socket, Socket> pair_ = Socket::pair().value();
  std::optional<Link> a_{std::in_place, loop_, std::move(pair_.first)};
  Link b_{loop_, std::move(pair_.second)};
  std::vector<Frame> frames_;
  std::optional<Error> end_;
};

TEST_F(LinkTest, SendsMoreThanThereIsRoomForInOrder) {
  start();
  constexpr int kMany = 5'000;
  const int fd = ::dup(0);
  for (int i = 0; i < kMany; ++i) {
    a_->send(Listen{std::to_string(i), {}, 0, false}, {fd});
  }
  ::close(fd);  // what waits has its own
  while (frames_.size() < kMany && !end_) {
    loop_.run_one();
  }
  for (int i = 0; i < kMany; ++i) {
    ASSERT_EQ(message_of<Listen>(frames_[i]).value().name, std::to_string(i));
  }
}

TEST_F(LinkTest, EndsWithTheOtherEnd) {
  start();
  a_->send(Close{"last"});
  a_.reset();
  while (!end_) {
    loop_.run_one();
  }
  EXPECT_EQ(frames_.size(), 1U) << "what was said before is heard";
  EXPECT_EQ(end_->code, ErrorCode::unavailable);
}

TEST_F(LinkTest, EndsWithWhatCannotBeBelieved) {
  start();
  EXPECT_FALSE(message_of<Listen>(Frame{101, encode(Listen{}), {}})) << "without its socket";
  a_->send(Welcome{});
  frames_.clear();
  while (frames_.empty()) {
    loop_.run_one();
  }
  EXPECT_FALSE(message_of<Welcome>(frames_[0])) << "without its descriptors";
  EXPECT_FALSE(end_);
}

}  // namespace
}  // namespace metatap::channel
