// SPDX-License-Identifier: Apache-2.0
#include "proxy/stage.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "http/endpoint.hpp"
#include "http/server.hpp"
#include "ledger/audit.hpp"
#include "proxy/recent_answers.hpp"
#include "unit/http/support.hpp"

namespace metatap::proxy {
namespace {

using namespace metatap::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Response echo(const Request& request) {
  std::string text = std::string(request.method) + " " + std::string(request.target) + "\n";
  for (const Header& header : request.headers) {
    text += std::string(header.name) + "=" + std::string(header.value) + "\n";
  }
  text += "body=" + std::string(request.body);
  return text_response(200, text);
}

/// Everybody is the same caller, until told otherwise.
class OneCaller : public CallerResolver {
 public:
  explicit OneCaller(Caller caller) : caller_(std::move(caller)) {}
  Caller caller_of(int, const sockaddr_storage&) const override {
    const std::lock_guard lock(mutex_);
    return caller_;
  }
  void set(Caller caller) {
    const std::lock_guard lock(mutex_);
    caller_ = std::move(caller);
  }

 private:
  mutable std::mutex mutex_;
  Caller caller_;
};

std::shared_ptr<Origin> origin(Path path = Path::tap, std::string port = "port-1") {
  auto made = std::make_shared<Origin>();
  made->path = path;
  made->port_id = std::move(port);
  made->network_id = "network-1";
  if (path == Path::router) {
    made->router_id = "router-1";
  }
  return made;
}

class ProxyTest : public ::testing::TestWithParam<bool> {
 protected:
  void start(ProxyOptions options = {}, std::shared_ptr<Origin> who = origin(),
             FunctionHandler::Function function = echo) {
    origin_ = std::move(who);
    origin_->owner = 1;
    origin_->holds = holds_;
    resolver_ = std::make_shared<OneCaller>(Caller{origin_, "10.0.0.5"});
    handler_.emplace(std::move(function), GetParam());
    stage_.emplace(workers_, *handler_, options,
                   key_.empty() ? std::nullopt : std::optional(PortTagKey(key_)));
    stage_->tell_own_answers([this](const AccessEntry& entry) {
      const std::lock_guard lock(mutex_);
      own_.push_back(std::to_string(entry.status) + " " + std::string(entry.reason) + " " +
                     entry.caller.origin->port_id + " " +
                     (entry.request == nullptr ? "-" : std::string(entry.request->target)));
    });
    stage_->name_instances(
        [](std::string_view port) { return "instance of " + std::string(port); });
    workers_.start();
    port_ = open("guests", 0);
  }
  /// What the stage has told of its own answers, once there are so many.
  std::vector<std::string> own_answers(std::size_t count) {
    const auto now = [this] {
      const std::lock_guard lock(mutex_);
      return own_;
    };
    EXPECT_TRUE(eventually([&] { return now().size() >= count; }));
    return now();
  }
  std::uint16_t open(const std::string& name, unsigned worker, bool alone = false) {
    GuestListener listener;
    listener.alone = alone;
    listener.fd = std::move(*http::listen_tcp({"127.0.0.1", 0}));
    const auto port = http::bound_port(listener.fd.get());
    listener.name = name;
    listener.worker = worker;
    stage_->open(std::move(listener), resolver_);
    return port;
  }
  Client client() { return Client::tcp(port_); }
  std::string ask(std::string_view request = "GET / HTTP/1.1\r\n\r\n") {
    Client one = client();
    one.send(request);
    one.finish();
    return one.read_all();
  }

  // What the stage tells outlives it and its threads.
  std::mutex mutex_;
  std::vector<std::string> own_;
  std::string key_;  ///< the port tag's; empty: none
  http::Workers workers_{2};
  std::optional<FunctionHandler> handler_;
  std::shared_ptr<Ownership> holds_ = std::make_shared<Ownership>(1);
  std::shared_ptr<Origin> origin_;
  std::shared_ptr<OneCaller> resolver_;
  std::optional<ProxyStage> stage_;
  std::uint16_t port_ = 0;
};
INSTANTIATE_TEST_SUITE_P(FastAndSlow, ProxyTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "handle" : "answer"; });

TEST_P(ProxyTest, SpeaksForThePortOnTheTapPath) {
  start();
  EXPECT_EQ(body_of(ask("GET /latest?x=%20 HTTP/1.1\r\nHost: evil\r\nAccept: text/html\r\n\r\n")),
            "GET /latest?x=%20\n"
            "Host=169.254.169.254\n"
            "X-Forwarded-For=10.0.0.5\n"
            "X-Neutron-Network-ID=network-1\n"
            "X-Metatap-Port-ID=port-1\n"
            "Accept=text/html\n"
            "body=");
}

TEST_P(ProxyTest, PassesAllAcceptHeadersOnAsOne) {
  start();
  EXPECT_THAT(body_of(ask("GET / HTTP/1.1\r\nAccept: image/png\r\nX: y\r\naccept: text/html;q=0.5"
                          "\r\nAccept: application/json\r\n\r\n")),
              HasSubstr("\nAccept=image/png,text/html;q=0.5,application/json\nbody="));
}

TEST_P(ProxyTest, SharesOutTheConnectionsOfALoneListener) {
  std::mutex mutex;
  std::map<std::thread::id, int> by_thread;
  start({}, origin(), [&](const Request& request) {
    const std::lock_guard lock(mutex);
    ++by_thread[std::this_thread::get_id()];
    return echo(request);
  });
  for (const bool alone : {false, true}) {
    const auto port = open(alone ? "alone" : "one of many", 0, alone);
    std::vector<Client> clients;
    by_thread.clear();
    for (int i = 0; i < 20; ++i) {
      clients.push_back(Client::tcp(port));
      clients.back().send("GET / HTTP/1.1\r\n\r\n");
      EXPECT_EQ(status_of(clients.back().read_response()), 200U);
    }
    EXPECT_EQ(by_thread.size(), alone ? 2U : 1U);
    for (const auto& [thread, requests] : by_thread) {
      EXPECT_GE(requests, alone ? 8 : 20);
    }
    // Wherever they are served, they go with their listener.
    stage_->close(alone ? "alone" : "one of many");
    for (Client& one : clients) {
      one.read_all(1s);
      EXPECT_TRUE(one.ended());
    }
    EXPECT_TRUE(eventually([&] { return stage_->counters().open == 0; }));
  }
  EXPECT_EQ(stage_->counters().connections, 40U);
}

TEST_P(ProxyTest, NamesTheRouterOnTheRouterPathOnly) {
  start({}, origin(Path::router));
  auto body = body_of(ask());
  EXPECT_THAT(body, HasSubstr("X-Neutron-Router-ID=router-1\n"));
  EXPECT_THAT(body, Not(HasSubstr("X-Neutron-Network-ID")));
  resolver_->set({origin(Path::dhcp), "fe80::1"});
  body = body_of(ask());
  EXPECT_THAT(body, HasSubstr("X-Neutron-Network-ID=network-1\n"));
  EXPECT_THAT(body, HasSubstr("X-Forwarded-For=fe80::1\n"));
  EXPECT_THAT(body, Not(HasSubstr("X-Neutron-Router-ID")));
  resolver_->set({origin(Path::router, ""), "10.0.0.9"});  // of no port: the agent's 404 decides
  EXPECT_THAT(body_of(ask()), Not(HasSubstr("X-Metatap-Port-ID")));
}

TEST_P(ProxyTest, PassesNothingOfTheGuestsHeaders) {
  start();
  std::string request = "POST /password HTTP/1.1\r\nHost: 10.9.9.9\r\nContent-Length: 3\r\n";
  const std::string names[] = {
      "X-Forwarded-For",         "X-Neutron-Network-ID",    "X-Neutron-Router-ID",
      "X-OVN-Network-ID",        "X-Instance-ID",           "X-Tenant-ID",
      "X-Instance-ID-Signature", "X-Metadata-Provider",     "X-Metadata-Provider-Signature",
      "X-Metatap-Port-ID",       "X-Metatap-Port-Signature"};
  for (std::string name : names) {
    request += name + ": forged\r\n";
    std::ranges::transform(name, name.begin(),
                           [](char c) { return static_cast<char>(std::tolower(c)); });
    request += name + ": forged\r\n";
    std::ranges::replace(name, '-', '_');
    request += name + ": forged\r\n";
    std::ranges::transform(name, name.begin(),
                           [](char c) { return static_cast<char>(std::toupper(c)); });
    request += name + ": forged\r\n";
  }
  const auto body = body_of(ask(request + "Cookie: forged\r\n\r\nabc"));
  EXPECT_THAT(body, Not(HasSubstr("forged")));
  EXPECT_THAT(body, Not(HasSubstr("10.9.9.9")));
  EXPECT_THAT(body, HasSubstr("X-Forwarded-For=10.0.0.5\n"));
  EXPECT_THAT(body, HasSubstr("body=abc"));
}

TEST_P(ProxyTest, GivesNeutronsAgentWhatItNeedsAndNoMore) {
  ProxyOptions options;
  options.neutron_agent = true;
  start(options);
  const std::string plain =
      "GET /a%20b\n"
      "Host=169.254.169.254\n"
      "X-Forwarded-For=10.0.0.5\n"
      "X-Neutron-Network-ID=network-1\n";
  const auto told = [&](const std::string& accept) {
    return body_of(ask("GET /a%20b HTTP/1.1\r\nCookie: c\r\nAccept: " + accept + "\r\n\r\n"));
  };
  EXPECT_EQ(told("text/html"), plain + "Accept=text/html\nbody=");  // the form of error pages
  EXPECT_EQ(told("text/\xff"), plain + "body=");                    // it would not decode that,
  EXPECT_EQ(told(std::string(4000, 'a')), plain + "body=");         // nor read that much
  EXPECT_EQ(options.upstream().max_request, 4096U);
  EXPECT_FALSE(options.upstream().keep_alive);
}

/// The value of a header as echo() shows it; empty: it was not sent.
std::string sent(const std::string& body, std::string_view name) {
  const auto start = body.find("\n" + std::string(name) + "=");
  if (start == std::string::npos) {
    return "";
  }
  const auto value = start + name.size() + 2;
  return body.substr(value, body.find('\n', value) - value);
}

std::string signed_with(const std::string& key, const DirectoryQuery& tag) {
  const Signature signature = PortTagKey(key).sign(tag);
  return {signature.begin(), signature.end()};
}

TEST_P(ProxyTest, SignsThePortTheNetworkOrRouterAndTheAddress) {
  const std::string key(32, 'k');
  key_ = key;
  start();
  const DirectoryQuery tag{
      .port_id = "port-1", .network_id = "network-1", .router_id = {}, .address = "10.0.0.5"};
  Client one = client();
  for (int i = 0; i < 2; ++i) {  // the connection's, for each of its requests
    one.send("GET / HTTP/1.1\r\nX-Metatap-Port-Signature: forged\r\n\r\n");
    const auto body = body_of(one.read_response());
    EXPECT_EQ(sent(body, "X-Metatap-Port-ID"), "port-1");
    EXPECT_EQ(sent(body, "X-Metatap-Port-Signature"), signed_with(key, tag));
    EXPECT_THAT(body, Not(HasSubstr("forged")));
  }
  resolver_->set({origin(Path::router), "10.0.0.5"});
  EXPECT_EQ(
      sent(body_of(ask()), "X-Metatap-Port-Signature"),
      signed_with(
          key,
          {.port_id = "port-1", .network_id = {}, .router_id = "router-1", .address = "10.0.0.5"}));
  resolver_->set({origin(Path::router, ""), "10.0.0.5"});
  EXPECT_THAT(body_of(ask()), Not(HasSubstr("X-Metatap")));
}

TEST_P(ProxyTest, SignsNothingForNeutronsAgent) {
  key_ = std::string(32, 'k');
  ProxyOptions options;
  options.neutron_agent = true;
  start(options);
  EXPECT_THAT(body_of(ask()), Not(HasSubstr("X-Metatap")));
}

TEST_P(ProxyTest, TellsNeutronsAgentNoAddressThatAGuestChose) {
  ProxyOptions options;
  options.neutron_agent = true;
  start(options);
  resolver_->set({origin_, "10.0.0.77", true});
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n"),
              ::testing::AllOf(StartsWith("HTTP/1.1 404 "), HasSubstr("application/json")));
}

TEST_P(ProxyTest, AnswersWhatCannotBeARequest) {
  ProxyOptions options;
  options.neutron_agent = GetParam();
  start(options);
  for (const auto* line : {"CONNECT 169.254.169.254:80", "CONNECT /latest", "GET latest", "GET *",
                           "GET /latest#frag", "GET /latest\xff", "GET /\xc3\xa4", "GET /latest/%",
                           "GET /latest/%z0", "GET /latest?%2", "GET /latest\x7f"}) {
    const auto response = ask(std::string(line) + " HTTP/1.1\r\n\r\n");
    EXPECT_THAT(response, StartsWith("HTTP/1.1 400 ")) << line;
    EXPECT_THAT(response, HasSubstr("Connection: close\r\n")) << line;
  }
  EXPECT_EQ(status_of(ask("GET http://169.254.169.254/%c3%a4?a=%20 HTTP/1.1\r\n\r\n")), 200U);
}

TEST_P(ProxyTest, TellsOfAnswersItGaveItselfAndWhy) {
  ProxyOptions options;
  options.access.access.tokens = TokenMode::required;
  options.max_connections_per_port = 2;
  start(options);
  const auto token = body_of(
      ask("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"));
  EXPECT_EQ(status_of(ask("GET /mine HTTP/1.1\r\nX-aws-ec2-metadata-token: " + token + "\r\n\r\n")),
            200U)
      << "the stages behind answered, and so nothing is told";
  ask("GET /plain HTTP/1.1\r\n\r\n");
  ask("GET /%zz HTTP/1.1\r\n\r\n");
  ask("nonsense\r\n\r\n");
  EXPECT_THAT(own_answers(4), ElementsAre("200 token_issued port-1 /latest/api/token",
                                          "401 token_required port-1 /plain",
                                          "400 malformed port-1 /%zz", "400 malformed port-1 -"));
  Client one = client(), other = client();
  EXPECT_TRUE(eventually([&] { return stage_->counters().open == 2; }));
  EXPECT_EQ(status_of(ask("GET /third HTTP/1.1\r\n\r\n")), 503U);
  EXPECT_EQ(own_answers(5).back(), "503 over_port_cap port-1 /third");
}

TEST_P(ProxyTest, ResetsWhoeverHasNoTag) {
  start();
  resolver_->set({nullptr, ""});
  Client one = client();
  EXPECT_EQ(one.read_all(), "");
  EXPECT_TRUE(one.was_reset());
  EXPECT_TRUE(eventually([&] { return stage_->counters().unidentified == 1; }));
}

TEST_P(ProxyTest, ClosesWhenThePortIsRevoked) {
  start();
  Client one = client();
  one.send("GET /1 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(status_of(one.read_response()), 200U);
  holds_->store(2);  // another's
  one.send("GET /2 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(one.read_all(), "");
  EXPECT_TRUE(one.ended());
  EXPECT_EQ(stage_->counters().revoked, 1U);
  Client late = client();
  EXPECT_EQ(late.read_all(), "");
  EXPECT_TRUE(late.ended());
}

TEST_P(ProxyTest, CapsThePortAndTheNetwork) {
  ProxyOptions options;
  options.max_connections_per_port = 3;
  options.max_connections_per_network = 5;
  start(options);
  std::vector<Client> held;
  const auto hold = [&] {
    held.push_back(client());
    held.back().send("GET / HTTP/1.1\r\n\r\n");
    return held.back().read_response();
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(status_of(hold()), 200U);
  }
  const auto refused = hold();
  EXPECT_EQ(status_of(refused), 503U);
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_EQ(held.back().read_all(), "");
  EXPECT_TRUE(held.back().ended());
  held.pop_back();
  EXPECT_EQ(stage_->counters().over_port_cap, 1U);
  EXPECT_EQ(stage_->counters().over_network_cap, 0U);

  resolver_->set({origin(Path::tap, "port-2"), "10.0.0.6"});  // its neighbour is not hurt
  EXPECT_EQ(status_of(hold()), 200U);
  EXPECT_EQ(status_of(hold()), 503U);  // but the last place is for one who has none
  EXPECT_EQ(stage_->counters().over_fair_share, 1U);
  resolver_->set({origin(Path::tap, "port-3"), "10.0.0.7"});
  EXPECT_EQ(status_of(hold()), 200U);
  resolver_->set({origin(Path::tap, "port-4"), "10.0.0.8"});
  EXPECT_EQ(status_of(hold()), 503U);  // and now the network has its share
  EXPECT_EQ(stage_->counters().over_port_cap, 1U);
  EXPECT_EQ(stage_->counters().over_network_cap, 1U);
  resolver_->set({origin_, "10.0.0.5"});
  held.clear();
  EXPECT_TRUE(eventually([&] { return stage_->counters().open == 0; }));
  EXPECT_EQ(status_of(hold()), 200U);

  // A flood is reset, not answered.
  for (int i = 0; i < 200; ++i) {
    held.push_back(client());
  }
  EXPECT_TRUE(eventually([&] { return stage_->counters().open <= 5 + 64; }));
}

TEST_P(ProxyTest, APortMayHaveACapOfItsOwn) {
  ProxyOptions options;
  options.max_connections_per_port = 3;
  start(options);
  Port port;
  port.id = origin_->port_id;
  const auto say = [&](std::optional<std::uint16_t> connections) {
    port.access.connections = connections;
    auto inventory = std::make_shared<Inventory>();
    inventory->ports[port.id] = std::make_shared<const Port>(port);
    stage_->access().follow(std::move(inventory));
  };
  std::vector<Client> held;
  const auto hold = [&] {
    held.push_back(client());
    held.back().send("GET / HTTP/1.1\r\n\r\n");
    return status_of(held.back().read_response());
  };
  say(1);
  EXPECT_EQ(hold(), 200U);
  EXPECT_EQ(hold(), 503U);
  EXPECT_EQ(stage_->counters().over_port_cap, 1U);
  say(4);
  for (int more = 0; more < 3; ++more) {
    EXPECT_EQ(hold(), 200U);
  }
  EXPECT_EQ(hold(), 503U);
  say({});
  EXPECT_EQ(hold(), 503U) << "as configured for all";
}

TEST_P(ProxyTest, PortsThatTakeAllTheyCanLeaveRoomForOneThatHasNone) {
  ProxyOptions options;
  options.max_connections_per_port = 64;
  options.max_connections_per_network = 64;
  start(options);
  std::vector<Client> held;
  const auto hold = [&](const std::string& port) {
    resolver_->set({origin(Path::tap, port), "10.0.0.6"});
    held.push_back(client());
    held.back().send("GET / HTTP/1.1\r\n\r\n");
    return status_of(held.back().read_response());
  };
  for (int greedy = 0; greedy < 7; ++greedy) {
    for (int i = 0; i < 64 && hold("port-" + std::to_string(greedy)) == 200; ++i) {
    }
  }
  EXPECT_GT(stage_->counters().over_fair_share, 0U);
  // So do those that have been turned away and stay.
  const auto seen = [&] {
    const auto now = stage_->counters();
    return now.connections + now.over_fair_share + now.over_port_cap + now.over_network_cap;
  };
  const auto before = seen();
  for (int i = 0; i < 80; ++i) {
    held.push_back(client());
    held.back().send("GET / HT");
  }
  ASSERT_TRUE(eventually([&] { return seen() >= before + 80; }));
  EXPECT_EQ(hold("a newcomer"), 200U);
}

TEST_P(ProxyTest, AddressesOfNoPortCountAsOneTogether) {
  ProxyOptions options;
  options.max_connections_unknown = 6;
  options.max_connections_per_network = 64;
  start(options);
  std::vector<Client> held;
  const auto hold = [&](const std::string& port, const std::string& address) {
    resolver_->set({origin(Path::router, port), address});
    held.push_back(client());
    held.back().send("GET / HTTP/1.1\r\n\r\n");
    return status_of(held.back().read_response());
  };
  int admitted = 0;
  for (int i = 0; i < 40; ++i) {  // a guest without port security
    admitted += hold("", "10.0.0." + std::to_string(i)) == 200 ? 1 : 0;
  }
  EXPECT_EQ(admitted, 6);
  EXPECT_EQ(stage_->counters().over_unknown_cap, 34U);
  EXPECT_EQ(hold("port-1", "10.0.1.1"), 200U);
}

TEST_P(ProxyTest, ANetworkLeavesRoomForOthersInTheProcess) {
  ProxyOptions options;
  start(options);
  http::Workers few(1, {.connections = 32});
  ProxyStage stage(few, *handler_, options);
  few.start();
  GuestListener listener;
  listener.fd = std::move(*http::listen_tcp({"127.0.0.1", 0}));
  const auto port = http::bound_port(listener.fd.get());
  stage.open(std::move(listener), resolver_);
  std::vector<Client> held;
  const auto hold = [&](const std::string& network, int number) {
    auto who = origin(Path::tap, network + std::to_string(number));
    who->network_id = network;
    resolver_->set({std::move(who), "10.0.0.6"});
    held.push_back(Client::tcp(port));
    held.back().send("GET / HT");
  };
  for (int i = 0; i < 20; ++i) {
    hold("greedy", i);
    ASSERT_TRUE(eventually([&] {
      const auto now = stage.counters();
      return now.connections + now.over_fair_share == static_cast<std::uint64_t>(i) + 1;
    }));
  }
  EXPECT_LE(stage.counters().connections, 17U);
  const auto before = stage.counters().connections;
  hold("modest", 0);
  EXPECT_TRUE(eventually([&] { return stage.counters().connections == before + 1; }));
  stage.stop(0ms);
}

TEST_P(ProxyTest, LimitsTheRatePerPort) {
  ProxyOptions options;
  options.rate_limit.enabled = true;
  options.rate_limit.base = {60s, 3};
  options.rate_limit.burst = {60s, 100};
  start(options);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(status_of(ask()), 200U);
  }
  const auto refused = ask();
  EXPECT_EQ(status_of(refused), 429U);
  EXPECT_THAT(refused, Not(HasSubstr("Retry-After")));
  resolver_->set({origin_, "fe80::1"});  // the same port by IPv6
  EXPECT_EQ(status_of(ask()), 429U);
  resolver_->set({origin(Path::tap, "port-2"), "10.0.0.6"});
  EXPECT_EQ(status_of(ask()), 200U);
  EXPECT_EQ(stage_->counters().rate_limited, 2U);
}

TEST_P(ProxyTest, ClosesAListenerWithItsConnections) {
  start();
  const auto other = open("others", 1);
  Client mine = client(), theirs = Client::tcp(other);
  mine.send("GET / HTTP/1.1\r\n\r\n");
  theirs.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(status_of(mine.read_response()), 200U);
  EXPECT_EQ(status_of(theirs.read_response()), 200U);
  stage_->close("guests");
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_NE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(mine.read_all(), "");
  EXPECT_TRUE(mine.ended());
  theirs.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(status_of(theirs.read_response()), 200U);
  stage_->close("no such listener");
}

TEST_P(ProxyTest, CountsByStatus) {
  start({}, origin(), [](const Request& request) {
    return text_response(request.target == "/" ? 200 : 404, "");
  });
  ask();
  ask("GET /a HTTP/1.1\r\n\r\n");
  ask("GET /b HTTP/1.1\r\n\r\n");
  ask("nonsense\r\n\r\n");
  const auto counters = stage_->counters();
  EXPECT_THAT(counters.responses,
              ::testing::UnorderedElementsAre(std::pair(200U, 1U), std::pair(404U, 2U),
                                              std::pair(400U, 1U)));
  EXPECT_EQ(counters.connections, 4U);
  EXPECT_EQ(counters.malformed, 1U);
  EXPECT_EQ(counters.in_flight, 0U);
}

/// The agent as another process: the same stage with an Upstream for its next one.
class SplitProxyTest : public ::testing::Test {
 protected:
  void start(ProxyOptions options) {
    options.metadata_proxy_socket = directory_.file("agent.sock");
    auto upstream = http::Upstream::create(options.upstream());
    ASSERT_TRUE(upstream);
    upstream_ = std::move(*upstream);
    stage_.emplace(workers_, *upstream_, options);
    workers_.start();
    GuestListener listener;
    listener.fd = std::move(*http::listen_tcp({"127.0.0.1", 0}));
    port_ = http::bound_port(listener.fd.get());
    stage_->open(std::move(listener), std::make_shared<OneCaller>(Caller{origin(), "10.0.0.5"}));
  }
  UniqueFd agent() {
    UniqueFd fd = std::move(*http::listen_unix({directory_.file("agent.sock")}));
    ::fcntl(fd.get(), F_SETFL, 0);
    return fd;
  }
  std::string ask(std::string_view request = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n") {
    Client one = Client::tcp(port_);
    one.send(request);
    return one.read_all();
  }

  TemporaryDirectory directory_;
  http::Workers workers_{2};
  std::unique_ptr<http::Upstream> upstream_;
  std::optional<ProxyStage> stage_;
  std::uint16_t port_ = 0;
};

TEST_F(SplitProxyTest, CarriesTheSameRequestOverTheSocket) {
  start({});
  FunctionHandler handler(echo);
  http::Server agent(workers_, handler);
  ASSERT_TRUE(agent.listen(http::UnixEndpoint{directory_.file("agent.sock")}));
  const std::string_view request =
      "POST /a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nAccept: a/b\r\nX-Instance-ID: forged\r\n"
      "Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  EXPECT_EQ(body_of(ask(request)),
            "POST /a?b\n"
            "Host=169.254.169.254\n"
            "X-Forwarded-For=10.0.0.5\n"
            "X-Neutron-Network-ID=network-1\n"
            "X-Metatap-Port-ID=port-1\n"
            "Accept=a/b\n"
            "Content-Length=3\n"
            "body=abc");
}

TEST_F(SplitProxyTest, WritesOneSmallRequestForNeutronsAgent) {
  ProxyOptions options;
  options.neutron_agent = true;
  start(options);
  const UniqueFd listening = agent();
  std::string seen(8192, '\0');
  std::thread serve([&] {
    const UniqueFd fd(::accept(listening.get(), nullptr, nullptr));
    seen.resize(static_cast<std::size_t>(std::max<ssize_t>(
        0, ::recv(fd.get(), seen.data(), 4096, 0))));  // all that agent ever reads
    const std::string_view answer =
        "HTTP/1.1 404 Not Found\nContent-Type: text/plain\nContent-Length: 2\n"
        "Connection: close\n\nno";
    ::send(fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
  });
  const std::string body(3000, 'x');
  const auto response = ask("POST /p HTTP/1.1\r\nUser-Agent: " + std::string(3000, 'u') +
                            "\r\nConnection: close\r\nContent-Length: 3000\r\n\r\n" + body);
  serve.join();
  EXPECT_EQ(status_of(response), 404U);
  EXPECT_EQ(body_of(response), "no");
  EXPECT_EQ(seen,
            "POST /p HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Forwarded-For: 10.0.0.5\r\n"
            "X-Neutron-Network-ID: network-1\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n" +
                body);
  EXPECT_EQ(status_of(ask("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 4090\r\n\r\n" +
                          std::string(4090, 'x'))),
            413U);
}

TEST_F(SplitProxyTest, TellsGuestsThatTheAgentIsDownSlowOrMad) {
  ProxyOptions options;
  options.timeout_server = 300ms;
  start(options);
  const auto down = ask();
  EXPECT_EQ(status_of(down), 503U);
  EXPECT_THAT(down, HasSubstr("Retry-After: 1\r\n"));
  {
    const UniqueFd silent = agent();
    EXPECT_EQ(status_of(ask()), 504U);
  }
  const UniqueFd mad = agent();
  std::thread serve([&] {
    const UniqueFd fd(::accept(mad.get(), nullptr, nullptr));
    ::send(fd.get(), "SSH-2.0\r\n", 9, MSG_NOSIGNAL);
  });
  EXPECT_EQ(status_of(ask()), 502U);
  serve.join();
  EXPECT_TRUE(eventually([&] { return stage_->counters().upstream_errors == 3; }));
  EXPECT_EQ(stage_->counters().in_flight, 0U);
}

TEST(RateEstimate, IsHaproxysSlidingEstimate) {
  RateEstimate rate;
  for (int i = 0; i < 10; ++i) {
    rate.count(1000, 10'000);
  }
  EXPECT_EQ(rate.read(1000, 10'000), 10U);
  rate.count(12'000, 10'000);  // 1 s into the next period: 10 * 9/10 + 1
  EXPECT_EQ(rate.read(12'000, 10'000), 10U);
  EXPECT_EQ(rate.read(16'000, 10'000), 6U);
  EXPECT_EQ(rate.read(22'000, 10'000), 0U);  // one lone request in the period before
  EXPECT_EQ(rate.read(100'000, 10'000), 0U);
}

/// What the stage has put into its ledger, which ends with it.
class ProxyLedgerTest : public ProxyTest {
 protected:
  ~ProxyLedgerTest() override { stage_.reset(); }  // while there is a directory
  void keep(ProxyOptions options = {}, FunctionHandler::Function function = echo) {
    options.ledger.directory = directory_.file("ledger");
    start(options, origin(), std::move(function));
  }
  /// "verdict status method path token reason" of each answer.
  std::vector<std::string> kept() {
    stage_->stop(0ms);
    stage_.reset();
    workers_.stop();
    workers_.join();
    std::vector<std::string> lines;
    bool ended = false;
    const auto take = [&](const ledger::Json& record, std::string_view) {
      ended = record["kind"] == ledger::kEnd;
      if (record["kind"] == ledger::kAccess) {
        EXPECT_EQ(record["port"], "port-1");
        EXPECT_EQ(record["instance"], "instance of port-1");
        EXPECT_EQ(record["address"], "10.0.0.5");
        lines.push_back(record["verdict"].get<std::string>() + " " + record["status"].dump() + " " +
                        record["method"].get<std::string>() + " " +
                        record["path"].get<std::string>() + " " +
                        record["token"].get<std::string>() + " " + record.value("reason", "-"));
      }
      return true;
    };
    Result<ledger::Audit> audit;
    EXPECT_TRUE(eventually([&] {
      lines.clear();
      audit = ledger::read_ledger(directory_.file("ledger"), take);
      return ended;
    }));
    EXPECT_TRUE(audit);
    EXPECT_EQ(audit ? audit->broken : "no ledger", "");
    return lines;
  }

  /// The port is that instance's from now on.
  void belongs_to(std::string instance) {
    Port port;
    port.id = "port-1";
    port.device_id = std::move(instance);
    Inventory inventory;
    inventory.ports["port-1"] = std::make_shared<const Port>(port);
    stage_->access().follow(std::make_shared<const Inventory>(inventory));
  }
  ledger::Json page(std::string_view name) {
    return ledger::Json::parse(
        body_of(ask("GET /metatap/v1/" + std::string(name) + " HTTP/1.1\r\nHost: a\r\n\r\n")));
  }
  /// "verdict status method path" of each answer that the guest is told of.
  std::vector<std::string> told() {
    std::vector<std::string> lines;
    const auto told = page("access");
    for (const auto& answer : told["answers"]) {
      lines.push_back(answer["verdict"].get<std::string>() + " " + answer["status"].dump() + " " +
                      answer["method"].get<std::string>() + " " +
                      answer["path"].get<std::string>());
    }
    return lines;
  }

  TemporaryDirectory directory_;
};
INSTANTIATE_TEST_SUITE_P(FastAndSlow, ProxyLedgerTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "handle" : "answer"; });

TEST_P(ProxyLedgerTest, EachAnswerIsARecord) {
  keep({}, [](const Request& request) {
    return text_response(request.target == "/nothing" ? 404 : 200, "x");
  });
  ask("GET /openstack/latest/%75ser_data HTTP/1.1\r\nHost: a\r\n\r\nPOST /nothing HTTP/1.1\r\n"
      "Host: a\r\nX-metadata-token: bad\r\n\r\n");
  ask("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
  ask("F\"OO /a\"b HTTP/1.1\r\nHost: a\r\n\r\n");
  ask("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(kept(),
              ElementsAre("answered 200 GET user_data none -",
                          "refused 401 POST other invalid token_invalid",
                          "failed 404 GET other none -", "refused 400 - malformed unread malformed",
                          "refused 400 GET other unread malformed"));
}

TEST_P(ProxyLedgerTest, AnAnswerThatWasNotReadToItsEndIsARecordToo) {
  keep({}, [](const Request&) { return text_response(200, std::string(32U << 20U, 'x')); });
  {
    auto one = client();
    one.send("GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 0; }));
  EXPECT_THAT(kept(), ElementsAre("cut 200 GET user_data none -"));
}

TEST_P(ProxyLedgerTest, WhoIsOneTooManyIsARecordToo) {
  ProxyOptions options;
  options.max_connections_per_port = 1;
  keep(options);
  auto first = client();
  first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  first.read_response();
  EXPECT_THAT(ask("GET /latest/ HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("503"));
  EXPECT_THAT(kept(), ElementsAre("answered 200 GET listing none -",
                                  "refused 503 GET ec2 unread over_port_cap"));
}

TEST_P(ProxyLedgerTest, AGuestReadsItsOwnAnswers) {
  keep({}, [](const Request& request) {
    return text_response(request.target == "/nothing" ? 404 : 200, "x");
  });
  belongs_to("instance-1");
  ask("GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n");
  ask("GET /nothing HTTP/1.1\r\nHost: a\r\nX-metadata-token: bad\r\n\r\n");
  ask("F\"OO /a\"b HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(told(), ElementsAre("answered 200 GET user_data", "refused 401 GET other",
                                  "refused 400 - malformed"));
  const auto all = page("access");
  const auto& first = all["answers"][0];
  EXPECT_EQ(first["token"], "none");
  EXPECT_EQ(first["bytes"], 1);
  EXPECT_EQ(all["answers"][1]["reason"], "token_invalid");
  EXPECT_EQ(all["answers"][3]["path"], "metatap");
  EXPECT_EQ(all["older"], 0);
  for (const auto* name : {"port", "instance", "network", "address", "up_ms"}) {
    EXPECT_FALSE(first.contains(name)) << name;
  }
}

TEST_P(ProxyLedgerTest, TheNextGuestOfAPortReadsNothingOfTheFormer) {
  keep();
  belongs_to("instance-1");
  ask("GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(told().size(), 1U);
  belongs_to("instance-2");
  EXPECT_THAT(told(), ElementsAre());
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(told(), ElementsAre("answered 200 GET metatap", "answered 200 GET listing"));
  belongs_to("instance-1");
  EXPECT_THAT(told(), ElementsAre());
  // Another device: what is still said by a connection of the former one is not the next guest's.
  auto next = origin();
  next->plug = 2;
  resolver_->set({next, "10.0.0.5"});
  EXPECT_THAT(told(), ElementsAre());
}

TEST_P(ProxyLedgerTest, WhoseAnswersTheyAreIsDecidedWhenItAsks) {
  std::mutex mutex;
  std::condition_variable changed;
  int asked = 0;
  bool may = false;
  keep({}, [&](const Request& request) {
    std::unique_lock lock(mutex);
    if (request.target == "/slow") {
      ++asked;
      changed.notify_all();
      changed.wait(lock, [&] { return may; });
    }
    return text_response(200, "x");
  });
  belongs_to("instance-1");
  auto slow = client();
  slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return asked == 1; });
  }
  belongs_to("instance-2");
  {
    const std::lock_guard lock(mutex);
    may = true;
    changed.notify_all();
  }
  EXPECT_EQ(status_of(slow.read_response()), 200U);
  EXPECT_THAT(told(), ElementsAre());
  EXPECT_THAT(told(), ElementsAre("answered 200 GET metatap"));
}

TEST_P(ProxyLedgerTest, NobodyIsToldWhatNobodyIsKnownToHave) {
  keep();
  ask("GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(told(), ElementsAre());
  EXPECT_THAT(told(), ElementsAre());
}

TEST_P(ProxyLedgerTest, TheNextStageHearsNothingOfTheProxysOwnPages) {
  std::atomic<int> heard = 0;
  ProxyOptions options;
  options.access.sealed = {"user_data"};
  options.rate_limit.enabled = true;
  options.rate_limit.base.requests = 1000;
  options.rate_limit.burst.requests = 1000;
  keep(options, [&](const Request&) {
    ++heard;
    return text_response(200, "of the next stage");
  });
  belongs_to("instance-1");
  const auto status = [&](std::string_view line, std::string_view more = {}) {
    return ask(std::string(line) + " HTTP/1.1\r\nHost: a\r\n" + std::string(more) + "\r\n");
  };
  for (const auto* target :
       {"/metatap/v1/status", "//metatap//v1/./status/", "/%6detatap/v1/stat%75s",
        "/openstack/../metatap/v1/status", "/metatap/v1/status?wait_for_change=true",
        "http://169.254.169.254/metatap/v1/status"}) {
    EXPECT_THAT(status("GET " + std::string(target)), StartsWith("HTTP/1.1 200")) << target;
  }
  for (const auto* target : {"/metatap", "/metatap/", "/metatap/v1", "/metatap/v2/status",
                             "/metatap/v1/status/x", "/metatap/v1/user_data"}) {
    EXPECT_THAT(status("GET " + std::string(target)), StartsWith("HTTP/1.1 404")) << target;
  }
  for (const auto* method : {"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get"}) {
    for (const auto* page : {" /metatap/v1/status", " /metatap/v1/access"}) {
      const auto answer = status(std::string(method) + page, "Content-Length: 0\r\n");
      EXPECT_THAT(answer, StartsWith("HTTP/1.1 405")) << method;
      EXPECT_THAT(answer, HasSubstr("Allow: GET\r\n")) << method;
    }
  }
  EXPECT_THAT(status("GET /metatap/v1/status", "X-metadata-token: bad\r\n"),
              StartsWith("HTTP/1.1 401"));
  EXPECT_EQ(heard, 0);
  EXPECT_THAT(status("GET /metatapped"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(heard, 1);

  const auto shown = page("status");
  EXPECT_EQ(shown["access"]["tokens"], "optional");
  EXPECT_GT(shown["access"]["plain"], 20);
  EXPECT_EQ(shown["access"]["invalid"], 1);
  EXPECT_EQ(shown["sealed"], ledger::Json::array({"user_data"}));
  EXPECT_EQ(shown["sealed_now"], false);
  EXPECT_GE(shown["budget"]["connections"], 1);
  EXPECT_EQ(shown["budget"]["most_connections"], 64);
  EXPECT_LT(shown["budget"]["rate_limit"]["base"]["left"], 980);
  EXPECT_EQ(shown["budget"]["rate_limit"]["base"]["window_s"], 10.0);
}

TEST_P(ProxyLedgerTest, WhatIsAnsweredOnceIsRefusedFromThenOn) {
  ProxyOptions options;
  options.access.read_once = {"user_data"};
  options.access.access.once = true;
  keep(options, [](const Request& request) {
    return text_response(200,
                         std::string(request.target == "/latest/user-data" ? 32U << 20U : 1U, 'x'));
  });
  constexpr std::string_view kUserData = "GET /latest/user-data HTTP/1.1\r\nHost: a\r\n\r\n";
  {
    auto one = client();  // which goes without having read it
    one.send(kUserData);
    EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 1; }));
    EXPECT_THAT(ask(kUserData), StartsWith("HTTP/1.1 503"));
  }
  EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 0; }));
  EXPECT_THAT(ask(kUserData), StartsWith("HTTP/1.1 200"));
  EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 0; }));
  EXPECT_THAT(ask(kUserData), StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(
      ask("GET /latest/user-data?wait_for_change=true&last_etag=0 HTTP/1.1\r\nHost: a\r\n\r\n"),
      StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(
      kept(),
      ElementsAre("refused 503 GET user_data none read_once", "cut 200 GET user_data none -",
                  "answered 200 GET user_data none -", "refused 403 GET user_data none read_once",
                  "refused 403 GET user_data none read_once", "answered 200 GET listing none -"));
}

TEST_P(ProxyTest, ThereIsNothingToTellWhereNoLedgerIsKept) {
  start();
  const auto answer = ask("GET /metatap/v1/access HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(answer, HasSubstr("no [proxy] ledger"));
  const auto shown =
      nlohmann::json::parse(body_of(ask("GET /metatap/v1/status HTTP/1.1\r\nHost: a\r\n\r\n")));
  EXPECT_EQ(shown["sealed"], nlohmann::json::array());
  EXPECT_EQ(shown["budget"]["rate_limit"], nullptr);
  // What the addresses of no port ask is counted together, and so none of it is one's own.
  resolver_->set({origin(Path::router, ""), "10.0.0.9"});
  for (const auto* page : {"status", "access"}) {
    EXPECT_THAT(ask("GET /metatap/v1/" + std::string(page) + " HTTP/1.1\r\nHost: a\r\n\r\n"),
                HasSubstr("404 Not Found: this address is no port's"));
  }
}

TEST(RecentAnswers, AreTheLast) {
  RecentAnswers recent;
  recent.begin(1);
  for (unsigned i = 0; i < RecentAnswers::kMost + 3; ++i) {
    ledger::Answer answer;
    answer.status = i;
    recent.add(answer, 1);
  }
  const auto list = recent.list();
  EXPECT_EQ(list.older, 3U);
  ASSERT_EQ(list.answers.size(), RecentAnswers::kMost);
  EXPECT_EQ(list.answers.front().status, 3U);
  EXPECT_EQ(list.answers.back().status, RecentAnswers::kMost + 2);
}

TEST(LoadTable, ForgetsPortsThatAreGone) {
  LoadTable table({});
  for (int i = 0; i < 20'000; ++i) {
    const LoadShare share(table.at("port-" + std::to_string(i)));
  }
  EXPECT_LT(table.size(), 16 * 600U);
}

TEST(ProxyOptions, ReadsNeutronsOptions) {
  const auto config = Config::parse(
      "[DEFAULT]\nstate_path = /srv/neutron\n"
      "[metadata_haproxy]\ntimeout_server = 5\ntimeout_http_request = 6\n"
      "timeout_http_keep_alive = 7\ntimeout_client = 8\ntimeout_connect = 9\n"
      "[metadata_rate_limiting]\nrate_limit_enabled = True\nbase_window_duration = 20\n"
      "base_query_rate_limit = 30\nburst_window_duration = 2\nburst_query_rate_limit = 4\n"
      "[proxy]\nworkers = 2\nmax_connections_per_port = 8\nmax_connections_per_network = 9\n");
  ASSERT_TRUE(config) << config.error().message;
  const auto options = ProxyOptions::from(*config);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->metadata_proxy_socket, "/srv/neutron/metadata_proxy");
  EXPECT_EQ(options->upstream().deadline, 5s);
  EXPECT_EQ(options->limits.request, 6s);
  EXPECT_EQ(options->limits.idle, 7s);
  EXPECT_EQ(options->limits.write, 8s);
  EXPECT_EQ(options->timeout_connect, 9s);
  EXPECT_TRUE(options->rate_limit.enabled);
  EXPECT_EQ(options->rate_limit.base.window, 20s);
  EXPECT_EQ(options->rate_limit.base.requests, 30U);
  EXPECT_EQ(options->rate_limit.burst.window, 2s);
  EXPECT_EQ(options->rate_limit.burst.requests, 4U);
  EXPECT_EQ(options->workers, 2U);
  EXPECT_EQ(options->max_connections_per_port, 8U);
  EXPECT_EQ(options->max_connections_per_network, 9U);
}

TEST(ProxyOptions, LimitsNothingWithTwoVersionsAsNeutron) {
  const auto options = ProxyOptions::from(
      *Config::parse("[metadata_rate_limiting]\nrate_limit_enabled = True\nip_versions = 4,6\n"));
  ASSERT_TRUE(options);
  EXPECT_FALSE(options->rate_limit.enabled);
}

TEST(ProxyOptions, NamesTheOptionThatIsWrong) {
  for (const char* text : {"[metadata_haproxy]\ntimeout_server = 0\n", "[proxy]\nworkers = many\n",
                           "[metadata_rate_limiting]\nip_versions = 5\n"}) {
    const auto options = ProxyOptions::from(*Config::parse(text, "test.conf"));
    ASSERT_FALSE(options) << text;
    EXPECT_EQ(options.error().code, ErrorCode::invalid);
    EXPECT_THAT(options.error().message, HasSubstr("test.conf"));
  }
}

}  // namespace
}  // namespace metatap::proxy
