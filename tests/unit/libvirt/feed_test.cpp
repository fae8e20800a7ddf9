// SPDX-License-Identifier: Apache-2.0
// Against libvirt's own test driver: domains in this process, with real events.
#include "libvirt/feed.hpp"

#include <gmock/gmock.h>
#include <libvirt/libvirt.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "metatap/unique_fd.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::libvirt {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;

constexpr auto kTestDriver = "test:///default";

std::string xml(const std::string& name, const std::string& device, const std::string& hostname) {
  return "<domain type='test'><name>" + name +
         "</name><memory>1024</memory><os><type>hvm</type></os>"
         "<metadata><m:guest xmlns:m='urn:metatap:guest:1'><m:hostname>" +
         hostname +
         "</m:hostname></m:guest></metadata><devices><interface type='bridge'>"
         "<mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='" +
         device + "'/></interface></devices></domain>";
}

class FeedTest : public testing::Test {
 protected:
  void TearDown() override {
    if (domain_ != nullptr) {
      virDomainDestroy(domain_);
      virDomainUndefine(domain_);
      virDomainFree(domain_);
    }
    feed_.reset();
    if (connection_ != nullptr) {
      virConnectClose(connection_);
    }
  }
  void start(const std::string& uri) { start(uri, directory_.path()); }
  void start(const std::string& uri, const std::filesystem::path& guests) {
    auto feed = LibvirtFeed::start(
        control_.get_executor(), {.uri = uri, .guests = guests}, {},
        [this](std::string document) { guests_ = Json::parse(document)["guests"]; });
    ASSERT_TRUE(feed) << feed.error().message;
    feed_ = *std::move(feed);
  }
  template <class F>
  bool until(F&& true_now) {
    for (int turn = 0; turn < 500 && !true_now(); ++turn) {
      control_.run_for(20ms);
    }
    return true_now();
  }
  [[nodiscard]] const Json* guest(const std::string& name) const {
    for (const auto& each : guests_) {
      if (each["name"] == name) {
        return &each;
      }
    }
    return nullptr;
  }

  TemporaryDirectory directory_;
  boost::asio::io_context control_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> until_told_ =
      boost::asio::make_work_guard(control_);
  Json guests_;
  std::unique_ptr<LibvirtFeed> feed_;
  virConnect* connection_ = nullptr;
  virDomain* domain_ = nullptr;
};

TEST_F(FeedTest, DomainsAppearChangeAndGoByEvents) {
  start(kTestDriver);
  ASSERT_TRUE(until([&] { return feed_->health().connected; })) << feed_->health().error;
  connection_ = virConnectOpen(kTestDriver);
  ASSERT_NE(connection_, nullptr);
  domain_ = virDomainDefineXML(connection_, xml("web1", "tap1", "first").c_str());
  ASSERT_NE(domain_, nullptr);
  ASSERT_EQ(virDomainCreate(domain_), 0);
  ASSERT_TRUE(until([&] { return guest("web1") != nullptr; }));
  EXPECT_EQ((*guest("web1"))["hostname"], "first");
  EXPECT_EQ((*guest("web1"))["interfaces"][0]["device"], "tap1");
  EXPECT_GT(feed_->health().events, 0U);

  ASSERT_EQ(virDomainSetMetadata(domain_, VIR_DOMAIN_METADATA_ELEMENT,
                                 "<guest><hostname>second</hostname></guest>", "m",
                                 "urn:metatap:guest:1", VIR_DOMAIN_AFFECT_LIVE),
            0);
  EXPECT_TRUE(until([&] { return guest("web1") && (*guest("web1"))["hostname"] == "second"; }));

  ASSERT_EQ(virDomainDestroy(domain_), 0);
  EXPECT_TRUE(until([&] { return guest("web1") == nullptr; }));
}

/// What a feed has subscribed to ends with it, while others keep libvirt's side of it.
TEST_F(FeedTest, WhoHasEndedIsToldNothingMore) {
  start(kTestDriver);
  ASSERT_TRUE(until([&] { return feed_->health().connected; })) << feed_->health().error;
  connection_ = virConnectOpen(kTestDriver);
  ASSERT_NE(connection_, nullptr);
  domain_ = virDomainDefineXML(connection_, xml("web3", "tap3", "first").c_str());
  ASSERT_NE(domain_, nullptr);
  const auto events_of_a_start = [&] {
    const auto before = feed_->health().events;
    EXPECT_EQ(virDomainCreate(domain_), 0);
    EXPECT_TRUE(until([&] { return guest("web3") != nullptr; }));
    return feed_->health().events - before;
  };
  ASSERT_TRUE(until([&] { return feed_->health().events > 0; }));  // it is defined
  const auto once = events_of_a_start();
  EXPECT_GT(once, 0U);
  ASSERT_EQ(virDomainDestroy(domain_), 0);  // the feed may end before it hears of this
  feed_.reset();
  guests_ = {};

  start(kTestDriver);  // its memory may be where the other's was
  ASSERT_TRUE(until([&] { return feed_->health().connected; })) << feed_->health().error;
  EXPECT_EQ(events_of_a_start(), once);
}

TEST_F(FeedTest, AFileInAGuestsDirectoryIsSeenAtOnce) {
  start(kTestDriver);
  connection_ = virConnectOpen(kTestDriver);
  auto plain = xml("web2", "tap2", "x");
  plain.erase(plain.find("<metadata>"), plain.find("</metadata>") + 11 - plain.find("<metadata>"));
  domain_ = virDomainDefineXML(connection_, plain.c_str());
  ASSERT_NE(domain_, nullptr);
  ASSERT_EQ(virDomainCreate(domain_), 0);
  ASSERT_TRUE(until([&] { return guest("web2") != nullptr; }));
  std::filesystem::create_directory(directory_.path() / "web2");
  ASSERT_TRUE(until([&] { return guest("web2") != nullptr; }));
  std::ofstream(directory_.path() / "web2/meta-data") << "local-hostname: seen\n";
  EXPECT_TRUE(until([&] { return guest("web2")->value("hostname", "") == "seen"; }));
}

/// A folder that comes after the daemon, with what is in it.
TEST_F(FeedTest, TheGuestsFolderMayComeLater) {
  const auto guests = directory_.path() / "guests";
  start(kTestDriver, guests);
  connection_ = virConnectOpen(kTestDriver);
  auto plain = xml("web2", "tap2", "x");
  plain.erase(plain.find("<metadata>"), plain.find("</metadata>") + 11 - plain.find("<metadata>"));
  domain_ = virDomainDefineXML(connection_, plain.c_str());
  ASSERT_EQ(virDomainCreate(domain_), 0);
  ASSERT_TRUE(until([&] { return guest("web2") != nullptr; }));
  std::filesystem::create_directories(guests / "default");
  std::ofstream(guests / "default/meta-data") << "local-hostname: seen\n";
  EXPECT_TRUE(until([&] { return guest("web2")->value("hostname", "") == "seen"; }));
}

TEST_F(FeedTest, ALibvirtThatIsNotThereIsWaitedFor) {
  start("test:///nonexistent/node.xml");
  EXPECT_TRUE(until([&] { return !feed_->health().error.empty(); }));
  EXPECT_FALSE(feed_->health().connected);
  EXPECT_TRUE(guests_.is_null()) << "nobody is taken for gone";
}

/// Something that is called as libvirtd is.
class FalseLibvirtd : public FeedTest {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);  // as metatapd does
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_LT(path_.size(), sizeof address.sun_path);
    path_.copy(address.sun_path, path_.size());
    ASSERT_EQ(::bind(listening_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listening_.get(), 4), 0);
  }
  /// Until somebody calls.
  void wait_asked() const {
    pollfd asked{.fd = listening_.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&asked, 1, 10'000), 1);
  }

  const std::string path_ = (directory_.path() / "false").string();
  const std::string uri_ = "test+unix:///default?socket=" + path_;
  const UniqueFd listening_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

TEST_F(FalseLibvirtd, ThatSpeaksAnotherLanguageIsAskedAgain) {
  start(uri_);
  for (int turn = 0; turn < 2; ++turn) {
    wait_asked();
    const UniqueFd caller(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    constexpr std::string_view kHalfAnAnswer("\0\0\0\x40HTTP", 8);
    ASSERT_EQ(::send(caller.get(), kHalfAnAnswer.data(), kHalfAnAnswer.size(), MSG_NOSIGNAL), 8);
  }
  EXPECT_TRUE(until([&] { return feed_->health().error != "no answer yet"; }));
  EXPECT_FALSE(feed_->health().connected);
  EXPECT_TRUE(guests_.is_null()) << "nobody is taken for gone";
}

/// One that is stopped, or hangs: its socket takes connections, and nobody says a word.
TEST_F(FalseLibvirtd, ThatIsSilentIsNotWaitedForAtTheEnd) {
  start(uri_);
  wait_asked();
  const auto began = std::chrono::steady_clock::now();
  feed_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 8s);
  EXPECT_TRUE(guests_.is_null());
}

}  // namespace
}  // namespace metatap::libvirt
