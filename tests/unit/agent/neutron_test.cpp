// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mutex>
#include <nlohmann/json.hpp>

#include "agent/neutron_client.hpp"
#include "agent/port_memory.hpp"
#include "base/boot_time.hpp"
#include "http/coroutine.hpp"
#include "http/server.hpp"
#include "http/workers.hpp"
#include "unit/agent/support.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing_support::run;
using namespace std::chrono_literals;

/// Keystone under /identity and Neutron at /, with the shapes the real ones answer in.
class FakeCloud : public http::CoroutineHandler {
 public:
  boost::asio::awaitable<Response> respond(const Request& request) override {
    const std::string target(request.target);
    if (delay > 0ms && !target.starts_with("/identity")) {
      boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, delay);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    const std::scoped_lock lock(mutex);
    co_return target.starts_with("/identity") ? keystone(request) : neutron(request, target);
  }

  std::mutex mutex;
  std::chrono::milliseconds delay{0};
  unsigned keystone_status = 201, neutron_status = 200;
  int lifetime = 3600;
  std::string base;                              ///< http://127.0.0.1:port
  std::optional<std::string> token = "token-1";  ///< none: who has one is refused
  std::vector<json> sign_ins;
  std::vector<std::string> questions;
  std::size_t page = 0;  ///< elements in one; 0: all
  bool deaf = false;     ///< tells of all ports, whatever the filter
  struct Port {
    std::string id, network, address, mac, device, project, owner = "compute:nova";
  };
  std::vector<Port> ports;

  std::size_t asked() {
    const std::scoped_lock lock(mutex);
    return questions.size();
  }

 private:
  Response keystone(const Request& request) {
    Response response;
    response.status = keystone_status;
    response.content_type = "application/json";
    if (request.method != "POST" || request.target != "/identity/v3/auth/tokens") {
      response.status = 404;
      return response;
    }
    sign_ins.push_back(json::parse(request.body, nullptr, false));
    if (keystone_status != 201) {
      response.body = Body(std::string(
          R"({"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}})"));
      return response;
    }
    std::array<char, 64> expires{};
    const auto at = std::time(nullptr) + lifetime;
    std::strftime(expires.data(), expires.size(), "%Y-%m-%dT%H:%M:%S.000000Z", std::gmtime(&at));
    const auto endpoint = [](const std::string& interface, const std::string& region,
                             const std::string& url) {
      return json{{"interface", interface},
                  {"region", region},
                  {"region_id", region},
                  {"url", url},
                  {"id", "e"}};
    };
    json body;
    body["token"]["expires_at"] = expires.data();
    body["token"]["catalog"] = json::array(
        {json{{"type", "compute"}, {"endpoints", json::array()}},
         json{{"type", "network"},
              {"endpoints", json::array({endpoint("public", "one", "http://192.0.2.1:1"),
                                         endpoint("public", "two", base + "/"),
                                         endpoint("admin", "two", "http://192.0.2.1:1")})}}});
    response.headers.emplace_back("X-Subject-Token", token.value_or(""));
    response.body = Body(body.dump());
    return response;
  }

  Response neutron(const Request& request, const std::string& target) {
    questions.push_back(target);
    Response response;
    response.status = neutron_status;
    response.content_type = "application/json";
    if (request.header("X-Auth-Token").has_value() != token.has_value() ||
        request.header("X-Auth-Token").value_or("") != token.value_or("")) {
      response.status = 401;
      return response;
    }
    if (neutron_status != 200) {
      return response;
    }
    std::multimap<std::string, std::string> filters;
    auto query = target.substr(target.find('?') + 1);
    while (!query.empty()) {
      auto item = query.substr(0, query.find('&'));
      query.erase(0, item.size() + 1);
      for (auto at = item.find('%'); at != std::string::npos; at = item.find('%', at + 1)) {
        item.replace(at, 3, 1, static_cast<char>(std::stoi(item.substr(at + 1, 2), nullptr, 16)));
      }
      filters.emplace(item.substr(0, item.find('=')), item.substr(item.find('=') + 1));
    }
    const auto fits = [&](const char* key, const std::string& value) {
      const auto [first, last] = filters.equal_range(key);
      return first == last ||
             std::any_of(first, last, [&](const auto& filter) { return filter.second == value; });
    };
    json found = json::array();
    for (const auto& port : ports) {
      if (deaf ||
          (fits("id", port.id) && fits("network_id", port.network) &&
           fits("fixed_ips", "ip_address=" + port.address) && fits("mac_address", port.mac) &&
           fits("device_id", port.device) && fits("device_owner", port.owner))) {
        found.push_back(
            {{"id", port.id},
             {"network_id", port.network},
             {"mac_address", port.mac},
             {"fixed_ips", json::array({json{{"subnet_id", "s"}, {"ip_address", port.address}}})},
             {"device_id", port.device},
             {"project_id", port.project},
             {"tenant_id", port.project}});
      }
    }
    json body;
    const auto marker = filters.find("marker");
    std::size_t from = marker == filters.end() ? 0 : std::stoul(marker->second);
    if (page > 0 && found.size() > from + page) {
      const auto bare = target.substr(0, target.find("&marker"));
      body["ports_links"] = json::array({json{
          {"rel", "next"}, {"href", base + bare + "&marker=" + std::to_string(from + page)}}});
    }
    body["ports"] = json::array();
    for (std::size_t at = from; at < found.size() && (page == 0 || at < from + page); ++at) {
      body["ports"].push_back(found[at]);
    }
    response.body = Body(body.dump());
    return response;
  }
};

class Neutron : public testing::Test {
 protected:
  Neutron() {
    workers.start();
    EXPECT_TRUE(server->listen(http::TcpEndpoint{"127.0.0.1", 0}));
    cloud.base = "http://127.0.0.1:" + std::to_string(server->port());
    cloud.ports = {{"p1", "n1", "10.0.0.1", "fa:16:3e:00:00:01", "vm-1", "project-1"},
                   {"p2", "n2", "10.0.0.1", "fa:16:3e:00:00:02", "vm-2", "project-2"},
                   {"r1", "n1", "10.0.0.254", "fa:16:3e:00:00:fe", "router-1", "project-1",
                    "network:router_interface"}};
    options.auth_url = cloud.base + "/identity";
    options.username = "metatap";
    options.password = "hunter2";
    options.project_name = "service";
    options.region_name = "two";
    options.timeout = 5s;
    options.first_back_off = 100ms;
    options.longest_back_off = 200ms;
  }
  ~Neutron() override {
    directory.reset();
    if (server) {
      server->stop(0ms);
    }
    workers.stop();
    workers.join();
  }
  void open() { directory = NeutronDirectory::create(options).value(); }
  Result<Identity> find(const DirectoryQuery& query, Freshness freshness = Freshness::cached) {
    return run(directory->find(query, freshness));
  }
  std::string instance(const DirectoryQuery& query) {
    const auto found = find(query);
    return found ? found->instance_id : "";
  }
  void stop_cloud() {
    server->stop(0ms);
    server.reset();
  }

  FakeCloud cloud;
  http::Workers workers{1};
  std::unique_ptr<http::Server> server = std::make_unique<http::Server>(workers, cloud);
  NeutronOptions options;
  std::unique_ptr<NeutronDirectory> directory;
  const DirectoryQuery one{.network_id = "n1", .address = "10.0.0.1"};
};

TEST_F(Neutron, FindsByNetworkRouterAndPort) {
  open();
  EXPECT_EQ(find(one).value(), (Identity{"vm-1", "project-1"}));
  EXPECT_EQ(instance({.network_id = "n2", .address = "::ffff:10.0.0.1"}), "vm-2");
  EXPECT_EQ(instance({.network_id = "n2", .address = "fe80::f816:3eff:fe00:2"}), "vm-2");
  EXPECT_EQ(instance({.router_id = "router-1", .address = "10.0.0.1"}), "vm-1");
  EXPECT_EQ(instance({.port_id = "p2"}), "vm-2");
  EXPECT_EQ(cloud.sign_ins.size(), 1U);
  EXPECT_THAT(cloud.questions.front(),
              AllOf(HasSubstr("/v2.0/ports?"), HasSubstr("network_id=n1"),
                    HasSubstr("fixed_ips=ip_address%3D10.0.0.1"), HasSubstr("fields=device_id")));
}

TEST_F(Neutron, IsNeverWidened) {
  open();
  EXPECT_EQ(find({.network_id = "n3", .address = "10.0.0.1"}).error().code, ErrorCode::not_found);
  EXPECT_EQ(find({.router_id = "unknown", .address = "10.0.0.1"}).error().code,
            ErrorCode::not_found);
  EXPECT_EQ(cloud.questions.size(), 2U) << "a router without networks was asked further";
  EXPECT_EQ(find({.port_id = "unknown"}).error().code, ErrorCode::not_found);
  cloud.ports.push_back({"p3", "n1", "10.0.0.1", "fa:16:3e:00:00:03", "vm-3", "project-1"});
  EXPECT_EQ(find(one).error().code, ErrorCode::not_found) << "two ports with one address";
  EXPECT_EQ(find({.network_id = "n1", .router_id = "r", .address = "10.0.0.1"}).error().code,
            ErrorCode::not_found);
}

TEST_F(Neutron, TakesNoAnswerToAnotherQuestion) {
  open();
  cloud.deaf = true;
  cloud.ports.resize(1);
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_EQ(find({.network_id = "n1", .address = "10.0.0.9"}).error().code, ErrorCode::unavailable);
  EXPECT_EQ(find({.network_id = "n2", .address = "10.0.0.1"}).error().code, ErrorCode::unavailable);
  EXPECT_EQ(find({.network_id = "n1", .address = "fe80::f816:3eff:fe00:9"}).error().code,
            ErrorCode::unavailable);
  EXPECT_EQ(find({.port_id = "p9"}).error().code, ErrorCode::unavailable);
}

TEST_F(Neutron, SignsInByPassword) {
  open();
  EXPECT_EQ(instance(one), "vm-1");
  const auto& auth = cloud.sign_ins.at(0)["auth"];
  EXPECT_EQ(auth["identity"]["methods"], json::array({"password"}));
  EXPECT_EQ(
      auth["identity"]["password"]["user"],
      (json{{"name", "metatap"}, {"domain", {{"name", "Default"}}}, {"password", "hunter2"}}));
  EXPECT_EQ(auth["scope"]["project"],
            (json{{"name", "service"}, {"domain", {{"name", "Default"}}}}));
}

TEST_F(Neutron, SignsInByApplicationCredential) {
  options.method = openstack::Access::Method::application_credential;
  options.application_credential_id = "ac-1";
  options.application_credential_secret = "hunter2";
  options.username.clear();
  open();
  EXPECT_EQ(instance(one), "vm-1");
  const auto& auth = cloud.sign_ins.at(0)["auth"];
  EXPECT_EQ(auth["identity"]["application_credential"],
            (json{{"id", "ac-1"}, {"secret", "hunter2"}}));
  EXPECT_FALSE(auth.contains("scope"));
}

TEST_F(Neutron, RemembersForATimeAndAsksAgainOnDemand) {
  options.ttl = 100ms;
  options.negative_ttl = 100ms;
  open();
  EXPECT_EQ(directory->known(one).error().code, ErrorCode::unavailable);
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_EQ(directory->known(one)->instance_id, "vm-1");
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_EQ(cloud.questions.size(), 1U);
  cloud.ports[0].device = "vm-9";
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_EQ(find(one, Freshness::asked)->instance_id, "vm-9");
  EXPECT_EQ(directory->known(one)->instance_id, "vm-9") << "the fresh answer is the remembered one";
  std::this_thread::sleep_for(120ms);
  EXPECT_EQ(directory->known(one).error().code, ErrorCode::unavailable);

  const DirectoryQuery nobody{.network_id = "n1", .address = "10.0.0.77"};
  EXPECT_EQ(find(nobody).error().code, ErrorCode::not_found);
  EXPECT_EQ(directory->known(nobody).error().code, ErrorCode::not_found);
  std::this_thread::sleep_for(120ms);
  EXPECT_EQ(directory->known(nobody).error().code, ErrorCode::unavailable);
}

TEST_F(Neutron, OneQuestionIsInFlightPerKey) {
  open();
  cloud.delay = 50ms;
  boost::asio::io_context loop;
  int found = 0;
  for (int times = 0; times < 20; ++times) {
    boost::asio::co_spawn(
        loop,
        [&]() -> boost::asio::awaitable<void> {
          const auto answer = co_await directory->find(one, Freshness::cached);
          found += answer && answer->instance_id == "vm-1" ? 1 : 0;
        },
        [](std::exception_ptr) {});
  }
  while (found < 20 && loop.run_one_for(5s) > 0) {
  }
  EXPECT_EQ(found, 20);
  EXPECT_EQ(cloud.asked(), 1U);
  EXPECT_EQ(cloud.sign_ins.size(), 1U);
}

TEST_F(Neutron, ANetworkWithManyAddressesLeavesQuestionsToOthers) {
  open();
  EXPECT_EQ(instance(one), "vm-1");
  cloud.delay = 500ms;
  boost::asio::io_context context{1};
  std::vector<std::string> addresses;
  for (int i = 0; i < 100; ++i) {
    addresses.push_back("10.1.0." + std::to_string(i));
  }
  int done = 0, refused = 0;
  std::string other;
  const auto ask = [&](DirectoryQuery query) -> boost::asio::awaitable<void> {
    const auto found = co_await directory->find(query, Freshness::cached);
    ++done;
    refused += !found && found.error().code == ErrorCode::unavailable ? 1 : 0;
    other = found ? found->instance_id : other;
  };
  for (const std::string& address : addresses) {
    boost::asio::co_spawn(context, ask({.network_id = "n1", .address = address}),
                          boost::asio::detached);
  }
  boost::asio::co_spawn(context, ask({.network_id = "n2", .address = "10.0.0.1"}),
                        boost::asio::detached);
  while (done < 101 && context.run_one() > 0) {
  }
  EXPECT_EQ(other, "vm-2");
  EXPECT_EQ(refused, 44) << "of 128 questions one network has half of what is not kept";
}

TEST_F(Neutron, WaitersOnOtherThreadsGoOnThere) {
  open();
  cloud.delay = 50ms;
  std::atomic<int> found{0};
  // Who wakes a waiter may still be at it when that one has its answer: a worker's loop lives on.
  std::array<boost::asio::io_context, 4> loops;
  std::vector<std::thread> threads;
  for (auto& loop : loops) {
    threads.emplace_back([&] {
      for (int question = 0; question < 3; ++question) {
        const auto address = "10.0.0." + std::to_string(question + 1);
        const DirectoryQuery query{.network_id = "n1", .address = address};
        found += run(loop, directory->find(query, Freshness::asked)) ? 1 : 0;
        loop.restart();
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(found, 4);
}

TEST_F(Neutron, ARevokedTokenIsReplacedOnce) {
  open();
  EXPECT_EQ(instance(one), "vm-1");
  cloud.token = "token-2";
  EXPECT_EQ(instance({.network_id = "n2", .address = "10.0.0.1"}), "vm-2");
  EXPECT_EQ(cloud.sign_ins.size(), 2U);
}

TEST_F(Neutron, ATokenIsRenewedBeforeItExpires) {
  cloud.lifetime = 2;  // renewed at half its life
  open();
  EXPECT_EQ(instance(one), "vm-1");
  std::this_thread::sleep_for(1200ms);
  EXPECT_EQ(instance({.network_id = "n2", .address = "10.0.0.1"}), "vm-2");
  EXPECT_EQ(cloud.sign_ins.size(), 2U);
  for (const auto& question : cloud.questions) {
    EXPECT_THAT(question, HasSubstr("/v2.0/ports"));
  }
}

TEST_F(Neutron, ReadsAllPages) {
  cloud.page = 2;
  for (int network = 0; network < 7; ++network) {
    cloud.ports.push_back({"i" + std::to_string(network), "m" + std::to_string(network), "10.9.0.1",
                           "fa:16:3e:00:09:0" + std::to_string(network), "router-9", "project",
                           "network:router_interface"});
  }
  cloud.ports.push_back({"late", "m6", "10.0.0.9", "fa:16:3e:00:00:09", "vm-9", "project"});
  open();
  EXPECT_EQ(instance({.router_id = "router-9", .address = "10.0.0.9"}), "vm-9");
}

TEST_F(Neutron, ARefusedCredentialIsNamedAndNotHammered) {
  using std::chrono::steady_clock;
  cloud.keystone_status = 401;
  open();
  const auto began = steady_clock::now();
  const auto refused = find(one);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_THAT(refused.error().message,
              AllOf(HasSubstr("refuses user 'metatap' in project 'service'"), HasSubstr("password"),
                    Not(HasSubstr("hunter2"))));
  for (int times = 0; times < 20; ++times) {
    EXPECT_FALSE(find(one));
  }
  // A machine that takes its time for these has pauses that end.
  const auto pauses = (steady_clock::now() - began) / options.first_back_off;
  EXPECT_LE(cloud.sign_ins.size(), 1U + static_cast<unsigned>(pauses));
  EXPECT_FALSE(directory->health().reachable);
  cloud.keystone_status = 201;
  const auto until = steady_clock::now() + 10s;
  while (instance(one) != "vm-1" && steady_clock::now() < until) {
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_TRUE(directory->health().reachable);
}

TEST_F(Neutron, WhatIsKnownIsServedWhileItIsDown) {
  options.ttl = 50ms;
  options.negative_ttl = 50ms;
  open();
  const DirectoryQuery nobody{.network_id = "n1", .address = "10.0.0.77"};
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_FALSE(find(nobody));
  stop_cloud();
  std::this_thread::sleep_for(60ms);
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_EQ(directory->known(one)->instance_id, "vm-1") << "during the pause, without waiting";
  EXPECT_EQ(find(nobody).error().code, ErrorCode::unavailable)
      << "that nobody was there is not to be served stale";
  EXPECT_EQ(find({.network_id = "n2", .address = "10.0.0.1"}).error().code, ErrorCode::unavailable);
  const auto health = directory->health();
  EXPECT_FALSE(health.reachable);
  EXPECT_GE(health.answered_stale, 2U);
  EXPECT_FALSE(health.last_error.empty());
  EXPECT_EQ(find(one, Freshness::asked).error().code, ErrorCode::unavailable);
}

/// A directory of a process that has not asked anything yet.
class Restarted : public Neutron {
 protected:
  Restarted() { options.memory = directory_.path() / "neutron.snapshot"; }
  ~Restarted() override { directory.reset(); }  // before its file goes
  void restart() {
    directory.reset();
    directory = NeutronDirectory::create(options, [this](const std::string& port) {
                  return port == "p1" ? plug.load() : 0;
                }).value();
  }
  /// The file is written by another thread.
  bool kept(const std::string& port) {
    for (int i = 0; i < 500; ++i) {
      if (PortMemory(options.memory, "Neutron, since boot " + this_boot())
              .recall()
              ->ports.contains(port)) {
        return true;
      }
      std::this_thread::sleep_for(10ms);
    }
    return false;
  }

  TemporaryDirectory directory_;
  std::atomic<std::uint64_t> plug = 77;
  const DirectoryQuery by_port{.port_id = "p1"};
};

TEST_F(Restarted, KnowsThePortWhoseDeviceIsStillThere) {
  restart();
  EXPECT_EQ(instance(by_port), "vm-1");
  EXPECT_EQ(instance({.port_id = "p2"}), "vm-2");
  EXPECT_EQ(instance(one), "vm-1");
  ASSERT_TRUE(kept("p1"));
  stop_cloud();
  restart();
  EXPECT_EQ(instance(by_port), "vm-1");
  EXPECT_EQ(directory->health().remembered, 1U) << "nothing is kept that no device vouches for";
  EXPECT_EQ(find({.port_id = "p2"}).error().code, ErrorCode::unavailable);
  EXPECT_EQ(find(one).error().code, ErrorCode::unavailable) << "an address has no device";
}

TEST_F(Restarted, DoesNotKnowWhoIsPluggedInLater) {
  restart();
  EXPECT_EQ(instance(by_port), "vm-1");
  ASSERT_TRUE(kept("p1"));
  stop_cloud();
  plug = 78;
  restart();
  EXPECT_EQ(find(by_port).error().code, ErrorCode::unavailable);
  plug = 0;
  EXPECT_EQ(find(by_port).error().code, ErrorCode::unavailable) << "not seen by the data plane yet";
  plug = 77;
  EXPECT_EQ(instance(by_port), "vm-1");
}

TEST_F(Restarted, ForgetsWhatIsTooOld) {
  restart();
  EXPECT_EQ(instance(by_port), "vm-1");
  ASSERT_TRUE(kept("p1"));
  stop_cloud();
  options.ttl = options.stale_if_error = 0ms;
  restart();
  EXPECT_EQ(find(by_port).error().code, ErrorCode::unavailable);
}

TEST_F(Restarted, APortWithAnotherDeviceIsAskedForAgain) {
  restart();
  EXPECT_EQ(instance(by_port), "vm-1");
  cloud.ports[0].device = "vm-9";
  EXPECT_EQ(instance(by_port), "vm-1") << "it is fresh";
  plug = 78;
  EXPECT_EQ(directory->known(by_port).error().code, ErrorCode::unavailable);
  EXPECT_EQ(instance(by_port), "vm-9");
}

TEST_F(Neutron, StaleAnswersHaveAnEnd) {
  options.ttl = 20ms;
  options.stale_if_error = 100ms;
  open();
  EXPECT_EQ(instance(one), "vm-1");
  stop_cloud();
  std::this_thread::sleep_for(120ms);
  EXPECT_EQ(find(one).error().code, ErrorCode::unavailable);
}

TEST_F(Neutron, MissingRightsAndEndpointsAreSaid) {
  cloud.neutron_status = 403;
  open();
  EXPECT_THAT(find(one).error().message, HasSubstr("forbids user 'metatap'"));
  options.region_name = "three";
  open();
  EXPECT_THAT(find(one).error().message, HasSubstr("no network endpoint in region 'three'"));
  options.endpoint_override = cloud.base;
  cloud.neutron_status = 200;
  open();
  EXPECT_EQ(instance(one), "vm-1");
}

TEST_F(Neutron, IsAskedWithoutATokenWhereThereIsNoKeystone) {
  options = NeutronOptions();
  options.method = openstack::Access::Method::none;
  options.endpoint_override = cloud.base + "/";
  cloud.token.reset();
  open();
  EXPECT_EQ(instance(one), "vm-1");
  EXPECT_TRUE(cloud.sign_ins.empty());
  cloud.token = "needed after all";
  open();
  EXPECT_THAT(find(one).error().message, HasSubstr("auth_type = none"));
}

TEST_F(Neutron, AQuestionItRefusesNamesNobody) {
  cloud.neutron_status = 400;
  open();
  EXPECT_EQ(find(one).error().code, ErrorCode::not_found);
  EXPECT_TRUE(directory->health().reachable);
}

TEST(NeutronOptions, AreNovasOrKeystonesMiddlewares) {
  const auto read = [](std::string_view text) {
    return NeutronOptions::from(Config::parse(text, "nova.conf").value());
  };
  const auto options =
      read(
          "[neutron]\nauth_url = http://k/v3\nauth_type = password\nusername = nova\n"
          "password = p\nproject_name = service\nuser_domain_name = D\nregion_name = R\n"
          "insecure = true\ncafile = /ca\n[cache]\nexpiration_time = 10\n")
          .value();
  EXPECT_EQ(options.method, openstack::Access::Method::password);
  EXPECT_EQ(options.user_domain_name, "D");
  EXPECT_TRUE(options.insecure);
  EXPECT_EQ(options.ttl, 10s);
  EXPECT_EQ(read("[neutron]\nauth_url = http://k\nusername = u\npassword = p\nproject_name = s\n"
                 "[cache]\nenabled = False\n")
                ->ttl,
            0s);
  EXPECT_EQ(read("[keystone_authtoken]\nauth_url = http://k\nusername = neutron\npassword = p\n"
                 "project_name = s\n")
                ->username,
            "neutron");
  EXPECT_EQ(read("[neutron]\nauth_url = http://k\napplication_credential_id = i\n"
                 "application_credential_secret = s\n")
                ->method,
            openstack::Access::Method::application_credential);
  const auto alone = read(
      "[neutron]\nauth_type = none\nendpoint_override = http://n:9696\nvalid_interfaces = "
      "internalURL\n[keystone_authtoken]\nauth_url = http://k\n");
  EXPECT_EQ(alone->method, openstack::Access::Method::none);
  EXPECT_EQ(alone->endpoint_override, "http://n:9696");
  EXPECT_EQ(alone->valid_interfaces, std::vector<std::string>{"internal"});
  EXPECT_THAT(read("").error().message, HasSubstr("[neutron] auth_url is needed"));
  EXPECT_THAT(read("[neutron]\nauth_url = http://k\nusername = u\n").error().message,
              HasSubstr("[neutron] password is needed"));
  EXPECT_THAT(read("[neutron]\nauth_url = http://k\nauth_type = v3kerberos\n").error().message,
              HasSubstr("nova.conf:3"));
}

}  // namespace
}  // namespace metatap::agent
