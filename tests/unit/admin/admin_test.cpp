// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "admin/cli.hpp"
#include "admin/client.hpp"
#include "admin/inventory_actions.hpp"
#include "admin/metrics.hpp"
#include "admin/port_actions.hpp"
#include "admin/server.hpp"
#include "admin/table.hpp"
#include "metatap/unique_fd.hpp"
#include "unit/inventory/samples.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::admin {
namespace {

namespace asio = boost::asio;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// A daemon's admin side: the real server, the real inventory, the real command line.
class AdminTest : public testing::Test {
 protected:
  void SetUp() override {
    auto service = InventoryService::open(control_.get_executor(),
                                          {.state_path = directory_.path() / "state"});
    ASSERT_TRUE(service) << service.error().message;
    inventory_ = *std::move(service);
    ASSERT_TRUE(inventory_->start());
    auto config = Config::parse("[DEFAULT]\nmetadata_proxy_shared_secret = hush\nworkers = 2\n");
    ASSERT_TRUE(config);
    config_ = *std::move(config);
    register_inventory(
        registry_, *inventory_,
        [this]() -> asio::awaitable<std::vector<std::string>> { co_return failed_; });
    register_ports(registry_, *inventory_, {nullptr, "h-1"});
    register_config(registry_, config_);
    registry_.add_status("proxy", [] {
      return Json{{"requests", 7},
                  {"listeners", {{{"name", "one"}, {"open", true}}}},
                  {"drops", {{"no_slot", 3}}}};
    });
    registry_.set_elsewhere([this](View view, const std::string&) -> boost::asio::awaitable<Json> {
      if (view == View::problems || view == View::unready) {
        co_return supervisor_answers_ ? Json("") : Json();
      }
      co_return view == View::ports ? Json::array({{{"port", "p-1"}, {"state", "attached"}},
                                                   {{"port", "p-2"}, {"state", "no device"}}})
                                    : Json();
    });
    registry_.add_health("bpf", [this] { return problem_; });
    registry_.add_findings(
        [this] { return std::vector<Finding>{{severity_, "bpf", "the kernel has TCX", ""}}; });
    workers_.start();
    server_ = std::make_unique<AdminServer>(workers_, control_.get_executor(), registry_,
                                            AdminOptions{.socket = socket_});
    ASSERT_TRUE(server_->start());
    thread_ = std::thread([this] { control_.run(); });
  }
  void TearDown() override {
    server_.reset();
    workers_.stop();
    workers_.join();
    guard_.reset();
    control_.stop();
    thread_.join();
    inventory_.reset();
  }

  struct Ran {
    int code;
    std::string out, err;
  };
  Ran metatap(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--socket", socket_});
    std::istringstream in(input);
    std::ostringstream out, err;
    const int code = run_cli(std::move(arguments), in, out, err);
    return {code, out.str(), err.str()};
  }
  std::string get(std::string_view target) {
    const auto answer = AdminClient(socket_).call("GET", target);
    return answer ? *answer : "error: " + answer.error().message;
  }

  TemporaryDirectory directory_;
  std::string socket_ = (directory_.path() / "run" / "admin.sock").string();
  std::string problem_;
  bool supervisor_answers_ = true;
  std::vector<std::string> failed_;  ///< what of a change could not be put into effect
  Finding::Severity severity_ = Finding::Severity::ok;
  asio::io_context control_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_{control_.get_executor()};
  std::unique_ptr<InventoryService> inventory_;
  Config config_ = *Config::parse("");
  Registry registry_;
  http::Workers workers_{1};
  std::unique_ptr<AdminServer> server_;
  std::thread thread_;
};

TEST_F(AdminTest, AppliesAndExports) {
  auto ran = metatap({"apply", "-", "--dry-run"}, std::string(kSample));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, AllOf(HasSubstr("instances  2 added"), HasSubstr("nothing was changed")));
  EXPECT_TRUE(inventory_->current()->instances.empty());
  ran = metatap({"apply", "-"}, std::string(kSample));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("applied as revision 2"));
  const auto exported = metatap({"export"});
  EXPECT_EQ(exported.code, 0);
  std::ofstream(directory_.path() / "all.json") << exported.out;
  ran = metatap({"apply", directory_.path() / "all.json"});
  EXPECT_EQ(ran.out, "nothing to change\n");
}

TEST_F(AdminTest, SaysWhatOfAChangeIsNotInEffect) {
  failed_ = {"tap tap1: no room", "qrouter-1: its lo is down"};
  auto ran = metatap({"apply", "-", "--dry-run"}, std::string(kSample));
  EXPECT_EQ(ran.code, 0) << "nothing was to be in effect";
  ran = metatap({"apply", "-"}, std::string(kSample));
  EXPECT_EQ(ran.code, 6);
  EXPECT_THAT(ran.out, HasSubstr("applied as revision 2"));
  EXPECT_EQ(ran.err,
            "metatap: not in effect: tap tap1: no room\n"
            "metatap: not in effect: qrouter-1: its lo is down\n");
  EXPECT_EQ(inventory_->current()->instances.size(), 2U) << "it is stored";
  const auto uuid = inventory_->current()->instances.begin()->first;
  ran = metatap({"--json", "instance", "remove", uuid});
  EXPECT_EQ(ran.code, 6);
  EXPECT_EQ(Json::parse(ran.out)["problems"], Json(failed_));
  failed_.clear();
  EXPECT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
}

TEST_F(AdminTest, SaysWhereADocumentIsWrong) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  auto ran = metatap({"apply", "-"}, R"({"format": "metatap-inventory/1", "ports": [{"id": 1}]})");
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err,
            "metatap: /ports/0/id: expected a string, not number\n"
            "/ports/0: \"network_id\" is required\n"
            "/ports/0: \"mac_address\" is required, or \"mac_policy\": \"any\"\n");
  EXPECT_EQ(inventory_->current()->instances.size(), 2U);
  ran = metatap({"apply", "/nonexistent/file"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("No such file"));
}

TEST_F(AdminTest, TakesAGuestByOptionsAlone) {
  const auto file = [&](const char* name, const std::string& text) {
    std::ofstream(directory_.path() / name) << text;
    return (directory_.path() / name).string();
  };
  const auto key = file("id.pub", "# mine\n\nssh-ed25519 AAAA me\nssh-rsa BBBB me\n");
  auto ran =
      metatap({"instance", "add", "vm1", "--device", "vnet0", "--ssh-key", key, "--user-data",
               file("u", "#!/bin/sh\n"), "--hostname", "web", "--when-down", "refuse"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto inventory = inventory_->current();
  const auto& instance = *inventory->instances.begin()->second;
  EXPECT_EQ(instance.name, "vm1");
  EXPECT_EQ(instance.hostname, "web");
  EXPECT_EQ(instance.keypairs.size(), 2U);
  EXPECT_EQ(instance.user_data, "IyEvYmluL3NoCg==");
  EXPECT_EQ(inventory->ports.begin()->second->device, "vnet0");
  EXPECT_EQ(inventory->ports.begin()->second->treatment.when_down, WhenDown::refuse);
  EXPECT_EQ(metatap({"instance", "add", "vm1", "--device", "vnet1"}).code, 4) << "it is there";
  EXPECT_EQ(metatap({"instance", "set", "vm1", "--device", "vnet1"}).code, 0);
  ran = metatap({"instance", "add", "vm2", "--device", "vnet2", "--ssh-key", file("e", "\n")});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("--ssh-key: there is no public key in"));
  EXPECT_EQ(metatap({"instance", "add", "vm2", "--device", "t", "--user-data", "/none"}).code, 2);
}

TEST_F(AdminTest, SendsWhatIsInTheFilesThatADocumentNames) {
  std::ofstream(directory_.path() / "u") << "#cloud-config\n";
  std::ofstream(directory_.path() / "all.json") << R"({"format": "metatap-inventory/1",
             "guests": [{"device": "t", "user_data": {"file": "u"}}]})";
  const auto ran = metatap({"apply", directory_.path() / "all.json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(inventory_->current()->instances.begin()->second->user_data, "I2Nsb3VkLWNvbmZpZwo=");
  std::filesystem::remove(directory_.path() / "u");
  EXPECT_EQ(metatap({"apply", directory_.path() / "all.json"}).code, 2);
}

TEST_F(AdminTest, ShowsStatusForPeopleAndForPrograms) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  const auto text = metatap({"status"}).out;
  EXPECT_THAT(text, AllOf(HasSubstr("inventory\n"), HasSubstr("  instances"), HasSubstr("sqlite:"),
                          HasSubstr("    NAME  OPEN\n    one   yes\n"), HasSubstr("no_slot")));
  const auto json = Json::parse(metatap({"--json", "status"}).out);
  EXPECT_EQ(json["inventory"]["instances"], 2);
  EXPECT_EQ(json["proxy"]["requests"], 7);
}

TEST_F(AdminTest, ListsPortsWithWhatTheDataPlaneKnows) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  const auto text = metatap({"ports"}).out;
  EXPECT_THAT(text, AllOf(HasSubstr("STATE"), HasSubstr("attached"), HasSubstr("tapp-2"),
                          HasSubstr("10.70.0.31, fd00:70::1f")));
  const auto rows = Json::parse(metatap({"ports", "--json"}).out);
  EXPECT_EQ(rows.at(0)["device_id"], "i-1");
  EXPECT_EQ(rows.at(0)["instance"], "full");
  EXPECT_EQ(rows.at(0)["state"], "attached");
}

TEST_F(AdminTest, FindsAPortByWhateverIsKnownOfIt) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  for (const auto* wanted :
       {"p-1", "tap0", "10.70.0.31", "FD00:70::1f", "fa-16-3e-00-00-1f", "full", "Full", "i-1"}) {
    const auto ran = metatap({"--json", "port", wanted});
    ASSERT_EQ(ran.code, 0) << wanted << ": " << ran.err;
    EXPECT_EQ(Json::parse(ran.out)["port"]["id"], "p-1") << wanted;
  }
  EXPECT_EQ(metatap({"port", "p-"}).code, 3) << "too short for the beginning of an id";
  EXPECT_EQ(metatap({"port", ""}).code, 2);
}

TEST_F(AdminTest, LeavesOutThePortsOfOtherHosts) {
  auto document = Json::parse(kSample);
  const auto copy = document["ports"][1];
  for (const auto& [id, host] : {std::pair("there", "h-2"), std::pair("here", "h-1")}) {
    auto& port = document["ports"].emplace_back(copy);
    port["id"] = id;
    port["mac_policy"] = "any";
    port.erase("mac_address");
    port.erase("fixed_ips");
    port["device"] = "vnet0";
    port["binding:host_id"] = host;
  }
  document["ports"][0]["binding:host_id"] = "h-2";  // served all the same, as by a router
  const auto applied = metatap({"apply", "-"}, document.dump());
  ASSERT_EQ(applied.code, 0) << applied.err;
  std::vector<std::string> ids;
  for (const auto& row : Json::parse(metatap({"ports", "--json"}).out)) {
    ids.push_back(row["id"]);
  }
  EXPECT_THAT(ids, testing::ElementsAre("here", "p-1", "p-2"));
  const auto port = [&](const char* wanted) {
    return Json::parse(metatap({"--json", "port", wanted}).out)["port"]["id"];
  };
  EXPECT_EQ(port("vnet0"), "here");
  EXPECT_EQ(port("there"), "there");
}

TEST_F(AdminTest, NamesThePortsThatFit) {
  auto document = Json::parse(kSample);
  for (auto& port : document["ports"]) {
    port["device_id"] = "i-1";
  }
  ASSERT_EQ(metatap({"apply", "-"}, document.dump()).code, 0);
  const auto ran = metatap({"port", "full"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("p-1"), HasSubstr("p-2"), HasSubstr("tap0")));
}

TEST_F(AdminTest, SaysSinceWhenAndWhatIsWorst) {
  severity_ = Finding::Severity::warning;
  EXPECT_EQ(metatap({"doctor"}).code, 10);
  registry_.keep_findings();
  const auto rows = Json::parse(metatap({"--json", "doctor"}).out);
  const auto warned =
      std::ranges::find(rows, "bpf", [](const Json& row) { return row["subject"]; });
  ASSERT_NE(warned, rows.end());
  EXPECT_GT((*warned)["since"], 1'700'000'000);
  severity_ = Finding::Severity::note;
  EXPECT_EQ(metatap({"doctor"}).code, 0);
}

TEST_F(AdminTest, IsHealthyWithNotes) {
  registry_.add_notes([] { return std::vector<std::string>{"3 s ago: put right"}; });
  EXPECT_EQ(get("/healthz"), "ok\nnote: 3 s ago: put right\n");
  problem_ = "not loaded";
  EXPECT_THAT(get("/healthz"), HasSubstr("503"));
}

TEST_F(AdminTest, KnowsADaemonOfAnotherVersion) {
  const auto answer = AdminClient(socket_).call("GET", "/v1/what-comes-later");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::unsupported);
  EXPECT_EQ(exit_for(answer.error()), Exit::other_version);
}

TEST_F(AdminTest, HandlesOneInstanceAtATime) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  EXPECT_EQ(metatap({"instance", "add", "-"}, R"({"uuid": "u", "name": "a b/ü"})").code, 0);
  auto ran = metatap({"instance", "add", "-"}, R"({"uuid": "u", "name": "c"})");
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("there is u already"));
  EXPECT_THAT(metatap({"instance", "list"}).out, HasSubstr("a b/ü"));
  EXPECT_THAT(metatap({"instance", "show", "a b/ü"}).out, HasSubstr("i-0000000c"));
  EXPECT_EQ(metatap({"instance", "set", "-"}, R"({"uuid": "u", "name": "full"})").code, 0);
  ran = metatap({"instance", "show", "full"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.err, HasSubstr("several instances are called 'full'"));
  EXPECT_EQ(metatap({"instance", "remove", "u"}).code, 0);
  EXPECT_EQ(metatap({"instance", "remove", "u"}).code, 3);
  EXPECT_EQ(metatap({"instance", "show", "full"}).code, 0);
}

TEST_F(AdminTest, ReadsAndClearsAPassword) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  EXPECT_EQ(metatap({"instance", "password", "full"}).out, "");
  asio::co_spawn(control_, inventory_->set_password("i-1", "c2VjcmV0"), asio::use_future).get();
  EXPECT_EQ(metatap({"instance", "password", "full"}).out, "c2VjcmV0\n");
  EXPECT_THAT(metatap({"instance", "list"}).out, Not(HasSubstr("c2VjcmV0")));
  EXPECT_EQ(metatap({"instance", "password", "full", "--clear"}).out, "cleared\n");
  EXPECT_EQ(metatap({"instance", "password", "full"}).out, "");
}

TEST_F(AdminTest, ShowsTheConfigurationWithoutSecrets) {
  const auto text = metatap({"config", "show"}).out;
  EXPECT_THAT(text, AllOf(HasSubstr("workers"), HasSubstr("<text>:3"), Not(HasSubstr("hush"))));
}

TEST_F(AdminTest, ReportsHealthAndFindings) {
  EXPECT_EQ(get("/healthz"), "ok\n");
  auto ran = metatap({"doctor"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, HasSubstr("the kernel has TCX"));
  problem_ = "not loaded";
  severity_ = Finding::Severity::error;
  EXPECT_EQ(metatap({"doctor"}).code, 1);
  EXPECT_THAT(get("/healthz"), HasSubstr("503"));
}

TEST_F(AdminTest, ReadyIsWhoeverServesGuestsWhateverElseIsWrong) {
  std::string passing;
  registry_.add_health("database", [&] { return passing; }, Registry::Guests::served);
  passing = "away";
  EXPECT_EQ(registry_.problems(Json("")), "database: away\n");
  EXPECT_EQ(registry_.unready(Json("")), "");
  problem_ = "not loaded";
  EXPECT_EQ(registry_.unready(Json("taps: gone\n")), "taps: gone\nbpf: not loaded\n");
}

TEST_F(AdminTest, ASupervisorThatSaysNothingIsNotWell) {
  EXPECT_EQ(get("/readyz"), "ok\n");
  supervisor_answers_ = false;
  EXPECT_THAT(get("/readyz"), HasSubstr("503"));
  EXPECT_EQ(registry_.problems(Json()), "supervisor: it does not answer\n");
}

TEST_F(AdminTest, ServesPrometheus) {
  ASSERT_EQ(metatap({"apply", "-"}, std::string(kSample)).code, 0);
  EXPECT_THAT(get("/metrics"), AllOf(HasSubstr("# TYPE metatap_inventory_objects gauge\n"),
                                     HasSubstr("metatap_inventory_objects{kind=\"instance\"} 2\n"),
                                     HasSubstr("metatap_database_reachable 1\n")));
}

TEST_F(AdminTest, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(metatap({"frobnicate"}).code, 2);
  EXPECT_EQ(metatap({}).code, 2);
  EXPECT_EQ(metatap({"apply"}).code, 2);
  EXPECT_EQ(metatap({"--help"}).code, 0);
  EXPECT_THAT(get("/v1/nothing"), HasSubstr("there is no /v1/nothing"));
  const auto answer = AdminClient(socket_).call("POST", "/v1/ports");
  EXPECT_THAT(answer.error().message, HasSubstr("takes GET"));
  EXPECT_THAT(get("/v1/instances/%zz"), HasSubstr("not percent-encoded"));
}

TEST(Cli, LooksBeforeAStartWithoutADaemon) {
  const auto doctor = [](Finding::Severity severity) {
    std::istringstream in;
    std::ostringstream out, err;
    const int code = run_cli(
        {"--socket", "/nonexistent/admin.sock", "doctor", "--preflight"}, in, out, err, "metatap",
        [&] { return std::vector<Finding>{{severity, "bpf", "Linux 4.4", ""}}; });
    return std::pair(code, out.str());
  };
  EXPECT_THAT(doctor(Finding::Severity::ok), testing::Pair(0, HasSubstr("Linux 4.4")));
  EXPECT_THAT(doctor(Finding::Severity::error), testing::Pair(1, HasSubstr("Linux 4.4")));
}

TEST(Cli, SaysThatNobodyListens) {
  std::istringstream in;
  std::ostringstream out, err;
  EXPECT_EQ(run_cli({"--socket", "/nonexistent/admin.sock", "status"}, in, out, err), 5);
  EXPECT_THAT(err.str(), HasSubstr("is metatapd running"));
}

/// Somebody else's socket, or a daemon that hangs.
class Stranger {
 public:
  Stranger() : listening_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
  }
  void listen() { EXPECT_EQ(::listen(listening_.get(), 4), 0); }
  /// To the first who says something.
  void answer(std::string_view text) {
    for (;;) {
      const UniqueFd fd(::accept(listening_.get(), nullptr, nullptr));
      std::array<char, 4096> said{};
      if (::read(fd.get(), said.data(), said.size()) > 0) {
        EXPECT_EQ(::write(fd.get(), text.data(), text.size()), std::ssize(text));
        return;
      }
    }
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  const TemporaryDirectory directory_;
  const std::string path_ = (directory_.path() / "admin.sock").string();
  const UniqueFd listening_;
};

TEST(AdminClient, DoesNotWaitForOneThatHangs) {
  using namespace std::chrono_literals;
  Stranger hangs;
  hangs.listen();
  const auto first = AdminClient(hangs.path(), 1s).call("GET", "/v1/status");
  ASSERT_FALSE(first);
  EXPECT_EQ(exit_for(first.error()), Exit::unreachable);
  EXPECT_THAT(first.error().message, HasSubstr(hangs.path() + " has not answered within 1 s"));
  for (int i = 0; i < 3; ++i) {  // until there is no room in its backlog
    const auto answer = AdminClient(hangs.path(), 200ms).call("GET", "/v1/status");
    ASSERT_FALSE(answer);
    EXPECT_EQ(exit_for(answer.error()), Exit::unreachable);
  }
}

TEST(AdminClient, KnowsWhoIsNoMetatapd) {
  Stranger other;
  other.listen();
  std::thread answering([&] { other.answer("220 mail.example.org\r\n"); });
  const auto answer = AdminClient(other.path()).call("GET", "/v1/status");
  answering.join();
  ASSERT_FALSE(answer);
  EXPECT_EQ(exit_for(answer.error()), Exit::unreachable);
  EXPECT_THAT(answer.error().message, HasSubstr("it is no metatapd's"));
}

TEST(AdminClient, WaitsForTheWorkerThatComesAfterOneThatDied) {
  Stranger next;
  std::thread answering([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    next.listen();
    next.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
  });
  const auto answer = AdminClient(next.path()).call("GET", "/v1/status");
  answering.join();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(*answer, "{}");
}

TEST(Metrics, AreMadeOfTheListsOfCounters) {
  UpstreamCounts<std::atomic<std::uint64_t>> one, other;
  one.requests = 3;
  other.requests = 4;
  other.timeouts = 2;
  UpstreamCounts<> sum;
  (sum += one) += other;
  Metrics metrics;
  metrics.all("upstream", sum, {{"stage", "api"}});
  metrics.all("proxy", ServerCounts<>{.open = 5});
  metrics.all("api", ApiCounts<>{.render_microseconds = 1'500'000});
  EXPECT_THAT(
      metrics.text(),
      AllOf(HasSubstr("# TYPE metatap_upstream_requests_total counter\n"),
            HasSubstr("metatap_upstream_requests_total{stage=\"api\"} 7\n"),
            HasSubstr("metatap_upstream_failures_total{stage=\"api\",kind=\"timeout\"} 2\n"),
            HasSubstr("# HELP metatap_proxy_connections_open Connections open now\n"),
            HasSubstr("# TYPE metatap_proxy_connections_open gauge\n"),
            HasSubstr("metatap_proxy_connections_open 5\n"),
            HasSubstr("metatap_api_render_seconds_total 1.5\n")));
}

TEST(Table, KeepsColumnsInLineAndTerminalsSafe) {
  EXPECT_EQ(table_of(Json::parse(R"([{"a": "ü", "none": null, "b": [1, 2]},
                                     {"a": "xyz\u001b[31m", "b": true}])")),
            "A         B\nü         1, 2\nxyz?[31m  yes\n");
}

}  // namespace
}  // namespace metatap::admin
