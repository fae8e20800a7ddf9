// SPDX-License-Identifier: Apache-2.0
// Methods, error bodies, passwords, vendordata, direct mode, and following the inventory.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/errors.hpp"
#include "api/health_check.hpp"
#include "base/back_off.hpp"
#include "http/server.hpp"
#include "http/workers.hpp"
#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

namespace asio = boost::asio;

std::unique_ptr<ApiStage> plain_stage() {
  return stage_of(inventory_of({sample_instance()}));
}

// --- methods and error bodies

TEST(Methods, AnythingReadsButThePassword) {
  const auto stage = plain_stage();
  for (const auto* method : {"GET", "PUT", "POST", "DELETE", "PATCH", "FROBNICATE", "OPTIONS"}) {
    const Response response =
        Call::signed_for("/latest/meta-data/hostname").by(method, "x").answer(*stage);
    EXPECT_EQ(response.status, 200U) << method;
    EXPECT_EQ(response.body.str(), "web-1.novalocal") << method;
  }
  EXPECT_EQ(Call::signed_for("/latest/api/token").by("PUT").answer(*stage).status, 404U);
}

TEST(Methods, HeadHasTheLengthAndNoBody) {
  const auto stage = plain_stage();
  Response response = Call::signed_for("/latest/meta-data/hostname").by("HEAD").answer(*stage);
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.body.size(), 0U);
  EXPECT_EQ(response.content_length, 15U);
  const auto full = body_of(*stage, "/openstack/latest/meta_data.json");
  response = Call::signed_for("/openstack/latest/meta_data.json").by("HEAD").answer(*stage);
  EXPECT_EQ(response.content_length, full.size());
  response = Call::signed_for("/nowhere").by("HEAD").answer(*stage);
  EXPECT_EQ(response.status, 404U);
  EXPECT_EQ(response.content_type, "text/html; charset=UTF-8");
  EXPECT_EQ(response.body.size(), 0U);
  EXPECT_EQ(response.content_length.value_or(0), 0U);
}

TEST(Methods, OptionsTurnsErrorsIntoNothing) {
  const auto stage = plain_stage();
  for (const auto* path : {"/nowhere", "/openstack/latest/password"}) {
    const Response response = Call::signed_for(path).by("OPTIONS").answer(*stage);
    EXPECT_EQ(response.status, 200U);
    EXPECT_EQ(response.content_type, "");
    EXPECT_EQ(response.body.size(), 0U);
  }
  EXPECT_EQ(Call::signed_for("/latest").without("X-Tenant-ID").by("OPTIONS").answer(*stage).status,
            200U);
}

TEST(Errors, BodyByAccept) {
  const auto stage = plain_stage();
  const auto body = [&](const std::string& accept) {
    const Response response = Call::signed_for("/nowhere").with("Accept", accept).answer(*stage);
    return std::pair(response.content_type, response.body.str());
  };
  const std::string html =
      "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n"
      "  <h1>404 Not Found</h1>\n  The resource could not be found.<br /><br />\n\n\n\n"
      " </body>\n</html>";
  EXPECT_EQ(html.size(), 154U);
  EXPECT_EQ(body("*/*"), std::pair(std::string("text/html; charset=UTF-8"), html));
  EXPECT_EQ(body("text/*").second, html);
  EXPECT_EQ(body("application/json, text/html").second, html);
  EXPECT_EQ(body("application/json"),
            std::pair(std::string("application/json"),
                      std::string(R"({"message": "The resource could not be found.<br /><br />)"
                                  R"(\n\n\n", "code": "404 Not Found", "title": "Not Found"})")));
  EXPECT_EQ(body("application/json, text/html;q=0.5").first, "application/json");
  EXPECT_EQ(body("").first, "text/plain; charset=UTF-8");
  EXPECT_EQ(body("image/png").first, "text/plain; charset=UTF-8");
  EXPECT_EQ(body("text/html;q=0, */*").first, "application/json");
}

TEST(Errors, LocalIpv4IsWhatTheProxySaidOfTheCaller) {
  const auto stage = plain_stage();  // without ports
  const auto local = [&](const Call& call) { return call.answer(*stage).body.str(); };
  const auto call = [] {
    return Call::signed_for("/latest/meta-data/local-ipv4").without("X-Forwarded-For");
  };
  EXPECT_EQ(local(call().with("X-Forwarded-For", "192.0.2.7, 10.0.0.1")), "192.0.2.7, 10.0.0.1");
  EXPECT_EQ(local(call().with("X-Forwarded-For", "")), "");
  EXPECT_EQ(local(call()), "None");  // Nova's word for nothing
}

TEST(HealthCheck, IsAnsweredInFrontOfTheApi) {
  const auto stage = plain_stage();
  HealthCheck front(*stage);
  const auto answer = [&](const std::string& target, const std::string& method = "GET") {
    Call call;
    call.target = target;
    return call.by(method).as_request(
        [&](const Request& request) { return ask(static_cast<Handler&>(front), request); });
  };
  for (const auto* target : {"/healthcheck", "/healthcheck/", "//healthcheck?from=lb"}) {
    const auto response = answer(target);
    EXPECT_EQ(response.status, 200U) << target;
    EXPECT_EQ(response.body.str(), "OK");
    EXPECT_EQ(response.content_type, "text/plain; charset=UTF-8");
  }
  EXPECT_EQ(answer("/healthcheck", "HEAD").status, 204U);
  EXPECT_EQ(answer("/").status, 200U);
  EXPECT_EQ(answer("/healthcheck/x").status, 400U);  // the API's answer to whoever signs nothing
  EXPECT_EQ(answer("/latest?/healthcheck").status, 400U);
}

TEST(Errors, AwkwardPathsAre404) {
  const auto stage = plain_stage();
  for (const std::string& path :
       {std::string("/latest%00"), std::string("/latest/\xff\xfe"), std::string("/%ff%fe"),
        "/" + std::string(8192, 'x'), std::string("/latest/meta-data/..%2f..%2f..%2fetc/passwd"),
        std::string("/latest\0/x", 10), std::string("/latest/meta-data/hostname%")}) {
    EXPECT_EQ(status_of(*stage, path), 404U) << path;
  }
  EXPECT_EQ(body_of(*stage, "//latest///meta-data//hostname//"), "web-1.novalocal");
  EXPECT_EQ(body_of(*stage, "/latest/meta-data/hostname?a=b"), "web-1.novalocal");
  EXPECT_EQ(body_of(*stage, "/%6catest/%2e%2e/ec2/latest/meta-data/hostname"), "web-1.novalocal");
  std::string dots = "/latest";
  for (int i = 0; i < 1000; ++i) {
    dots += "/x/%2e%2e";
  }
  EXPECT_EQ(body_of(*stage, dots + "/meta-data/hostname"), "web-1.novalocal");
}

// --- password

constexpr const char* kPassword = "/openstack/2013-04-04/password";

class PasswordTest : public testing::Test {
 protected:
  /// A store in memory, as the inventory service behaves: the change is applied before it returns.
  void make(Status outcome = {}) {
    auto state = std::make_shared<const Inventory>(inventory_of({sample_instance()}));
    ApiHooks hooks;
    hooks.store_password = [this, outcome](std::string id,
                                           std::string text) -> asio::awaitable<Status> {
      ++calls_;
      if (!outcome) {
        co_return outcome;
      }
      Instance changed = *state_->instances.at(id);
      if (changed.system_metadata.contains("password_0")) {
        co_return fail(ErrorCode::conflict, "it has one");
      }
      changed.system_metadata["password_0"] = text.substr(0, 255);
      if (text.size() > 255) {
        changed.system_metadata["password_1"] = text.substr(255);
      }
      auto after = std::make_shared<Inventory>(*state_);
      after->instances[id] = std::make_shared<const Instance>(std::move(changed));
      InventoryChange change;
      change.before = state_;
      change.after = after;
      change.instances = {id};
      state_ = after;
      stage_->apply(change);
      co_return Status();
    };
    state_ = state;
    auto stage = ApiStage::create(sample_options(), state, std::move(hooks));
    ASSERT_TRUE(stage);
    stage_ = std::move(*stage);
  }
  Response post(const std::string& body) {
    return ask(*stage_, Call::signed_for(kPassword).by("POST", body));
  }
  std::shared_ptr<const Inventory> state_;
  std::unique_ptr<ApiStage> stage_;
  int calls_ = 0;
};

TEST_F(PasswordTest, IsStoredOnceAndReadBack) {
  make();
  Response response = ask(*stage_, Call::signed_for(kPassword));
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.body.str(), "");
  EXPECT_EQ(response.content_type, "text/html; charset=UTF-8");
  const std::string text(344, 'p');
  response = post(text);
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.body.size(), 0U);
  EXPECT_EQ(response.content_type, "text/html; charset=UTF-8");
  EXPECT_EQ(ask(*stage_, Call::signed_for(kPassword)).body.str(), text);
  EXPECT_EQ(ask(*stage_, Call::signed_for("/openstack/latest/password")).body.str(), text);
  response = post("another");
  EXPECT_EQ(response.status, 409U);
  EXPECT_THAT(response.body.str(),
              testing::HasSubstr("There was a conflict when trying to complete your request."));
  EXPECT_EQ(ask(*stage_, Call::signed_for(kPassword)).body.str(), text);
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(stage_->stats().passwords, 1U);
}

TEST_F(PasswordTest, LimitsAndOrderOfChecks) {
  make();
  EXPECT_EQ(post("").status, 200U);  // nothing set
  EXPECT_EQ(calls_, 0);
  const Response large = post(std::string(1021, 'x'));
  EXPECT_EQ(large.status, 400U);
  EXPECT_THAT(large.body.str(), testing::HasSubstr("Request is too large."));
  EXPECT_EQ(post("\xff\xfe").status, 400U);
  EXPECT_EQ(post("\xc0\x80").status, 400U);
  EXPECT_EQ(post("\xed\xa0\x80").status, 400U);
  EXPECT_EQ(calls_, 0);
  EXPECT_EQ(post(std::string(1020, 'x')).status, 200U);
  EXPECT_EQ(post(std::string(1021, 'x')).status, 409U);  // set already comes first
}

TEST_F(PasswordTest, OtherMethodsAre400) {
  make();
  for (const auto* method : {"PUT", "DELETE", "HEAD", "PATCH"}) {
    EXPECT_EQ(ask(*stage_, Call::signed_for(kPassword).by(method, "x")).status, 400U) << method;
  }
  EXPECT_THAT(ask(*stage_, Call::signed_for(kPassword).by("PUT")).body.str(),
              testing::HasSubstr("GET and POST only are supported."));
  EXPECT_EQ(ask(*stage_, Call::signed_for("/openstack/2012-08-10/password").by("POST", "x")).status,
            404U);
  EXPECT_EQ(calls_, 0);
}

TEST_F(PasswordTest, FailuresOfTheStore) {
  make(fail(ErrorCode::internal, "disk is full"));
  EXPECT_EQ(post("secret").status, 500U);
  EXPECT_EQ(ask(*stage_, Call::signed_for(kPassword)).body.str(), "");
  make(fail(ErrorCode::unavailable, "the database hangs"));
  const auto later = post("secret");
  EXPECT_EQ(later.status, 503U);
  EXPECT_THAT(later.headers, testing::Contains(testing::Pair("Retry-After", testing::_)));
  make(fail(ErrorCode::conflict, "another daemon was faster"));
  EXPECT_EQ(post("secret").status, 409U);
  make(fail(ErrorCode::not_found, "gone"));
  EXPECT_EQ(post("secret").status, 400U);
  const auto without_store = plain_stage();
  EXPECT_EQ(ask(*without_store, Call::signed_for(kPassword).by("POST", "x")).status, 500U);
}

TEST(Password, FourPiecesAreOne) {
  Instance i = sample_instance();
  i.system_metadata = {{"password_0", "a"},
                       {"password_1", "b"},
                       {"password_2", ""},
                       {"password_3", "d"},
                       {"password_4", "never"}};
  EXPECT_EQ(body_of(*stage_of(inventory_of({i})), kPassword), "abd");
}

// --- vendordata

class TempFile {
 public:
  TempFile() {
    std::string name = (std::filesystem::temp_directory_path() / "mt-api-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    EXPECT_GE(fd, 0);
    ::close(fd);
    path_ = name;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  void write(const std::string& text) const {
    // A new file in the old one's place, as an editor does it.
    const std::string next = path_ + ".next";
    std::ofstream(next, std::ios::binary) << text;
    std::filesystem::rename(next, path_);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

constexpr const char* kVendor = "/openstack/latest/vendor_data.json";
constexpr const char* kVendor2 = "/openstack/latest/vendor_data2.json";

TEST(StaticVendordata, FollowsTheFileAndSurvivesABrokenOne) {
  const TempFile file;
  file.write(R"({"b": 1e3, "a": ["x"]})");
  ApiOptions options = sample_options();
  options.vendordata_jsonfile_path = file.path();
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  EXPECT_EQ(body_of(*stage, kVendor), R"({"b": 1000.0, "a": ["x"]})");
  EXPECT_EQ(body_of(*stage, kVendor2), R"({"static": {"b": 1000.0, "a": ["x"]}})");
  file.write("[1]");
  stage->refresh();
  EXPECT_EQ(body_of(*stage, kVendor), "[1]");
  EXPECT_EQ(stage->stats().vendordata_file_errors, 0U);
  file.write("{broken");
  stage->refresh();
  stage->refresh();  // logged and counted once
  EXPECT_EQ(body_of(*stage, kVendor), "{}");
  EXPECT_EQ(body_of(*stage, kVendor2), R"({"static": {}})");
  EXPECT_EQ(stage->stats().vendordata_file_errors, 1U);
  EXPECT_EQ(status_of(*stage, "/latest/meta-data/hostname"), 200U);
  std::filesystem::remove(file.path());
  stage->refresh();
  EXPECT_EQ(body_of(*stage, kVendor), "{}");
  EXPECT_EQ(stage->stats().vendordata_file_errors, 2U);
  file.write("{}");
  stage->refresh();
  EXPECT_EQ(stage->stats().vendordata_file_errors, 2U);
}

TEST(StaticVendordata, MissingFromTheStart) {
  ApiOptions options = sample_options();
  options.vendordata_jsonfile_path = "/nonexistent/vendordata.json";
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  EXPECT_EQ(body_of(*stage, kVendor), "{}");
  EXPECT_EQ(stage->stats().vendordata_file_errors, 1U);
}

TEST(StaticVendordata, OneThatIsTooLongIsNone) {
  const TempFile file;
  file.write("{}");
  std::filesystem::resize_file(file.path(), StaticVendordata::kLongest + 1);
  ApiOptions options = sample_options();
  options.vendordata_jsonfile_path = file.path();
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  EXPECT_EQ(body_of(*stage, kVendor), "{}");
  EXPECT_EQ(stage->stats().vendordata_file_errors, 1U);
}

TEST(StaticVendordata, NoProviderNoFileButListed) {
  ApiOptions options = sample_options();
  options.vendordata_providers = {};
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  EXPECT_EQ(status_of(*stage, kVendor), 404U);
  EXPECT_EQ(body_of(*stage, kVendor2), "{}");
  EXPECT_THAT(body_of(*stage, "/openstack/latest"), testing::HasSubstr("vendor_data.json"));
}

/// A REST service that a test scripts.
class Service : public Handler {
 public:
  Service() : workers_(1), server_(workers_, *this) {
    workers_.start();
    EXPECT_TRUE(server_.listen(http::TcpEndpoint{"127.0.0.1", 0}));
  }
  ~Service() override {
    server_.stop();
    workers_.stop();
    workers_.join();
  }
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  std::optional<Response> handle(const Request& request, asio::io_context&,
                                 Continuation&) override {
    ++asked;
    if (wait) {
      wait();
    }
    last_body = request.body;
    last_target = request.target;
    last_method = request.method;
    user_agent = request.header("User-Agent").value_or("");
    content_type = request.header("Content-Type").value_or("");
    Response response;
    response.status = status;
    response.content_type = "application/json";
    response.body = Body(body);
    return response;
  }
  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(server_.port()) + path;
  }

  std::atomic<int> asked = 0;
  std::function<void()> wait;  ///< before it answers
  unsigned status = 200;
  std::string body = R"({"color": "blue"})", last_body, last_target, last_method, user_agent,
              content_type;

 private:
  http::Workers workers_;
  http::Server server_;
};

ApiOptions dynamic_options(std::vector<DynamicTarget> targets) {
  ApiOptions options = sample_options();
  options.vendordata_providers = {"StaticJSON", "DynamicJSON"};
  options.vendordata_dynamic_targets = std::move(targets);
  return options;
}

TEST(DynamicVendordata, IsAskedOncePerBoot) {
  Service service;
  Instance i = sample_instance();
  i.metadata = {{"role", "web"}};
  i.system_metadata["boot_roles"] = "member,reader";
  auto state = std::make_shared<const Inventory>(inventory_of({i}));
  auto made = ApiStage::create(dynamic_options({{"one", service.url("/a?b=c")}}), state);
  ASSERT_TRUE(made);
  ApiStage& stage = **made;
  EXPECT_EQ(ask(stage, Call::signed_for(kVendor2)).body.str(),
            R"({"static": {}, "one": {"color": "blue"}})");
  EXPECT_EQ(service.last_method, "POST");
  EXPECT_EQ(service.last_target, "/a?b=c");
  EXPECT_EQ(service.content_type, "application/json");
  EXPECT_EQ(service.user_agent, "openstack-nova-vendordata");
  EXPECT_EQ(
      service.last_body,
      std::string(R"({"project-id": "project-a", "instance-id": ")") + kUuid +
          R"(", "image-id": "image", "user-data": "I2Nsb3VkLWNvbmZpZwo=", )"
          R"("hostname": "web-1", "metadata": {"role": "web"}, "boot-roles": "member,reader"})");
  EXPECT_EQ(ask(stage, Call::signed_for("/openstack/2016-10-06/vendor_data2.json")).status, 200U);
  EXPECT_EQ(service.asked, 1);
  EXPECT_EQ(stage.stats().vendordata_cached, 1U);
  // A changed instance is another question.
  i.metadata = {{"role", "db"}};
  InventoryChange change;
  change.before = state;
  change.after = std::make_shared<const Inventory>(inventory_of({i}));
  change.instances = {kUuid};
  stage.apply(change);
  EXPECT_EQ(ask(stage, Call::signed_for(kVendor2)).status, 200U);
  EXPECT_EQ(service.asked, 2);
  EXPECT_THAT(service.last_body, testing::HasSubstr(R"("role": "db")"));
}

TEST(DynamicVendordata, AnyJsonAndAny2xx) {
  Service service;
  ApiOptions options = dynamic_options({{"t", service.url("/")}});
  options.vendordata_dynamic_cache_time = std::chrono::seconds(0);
  options.vendordata_dynamic_failure_fatal = true;
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  const auto value = [&](unsigned status, const std::string& body) {
    service.status = status;
    service.body = body;
    const Response response = ask(*stage, Call::signed_for(kVendor2));
    return response.status == 200 ? response.body.str() : std::to_string(response.status);
  };
  EXPECT_EQ(value(201, "[1, 2.50]"), R"({"static": {}, "t": [1, 2.5]})");
  EXPECT_EQ(value(202, "\"x\""), R"({"static": {}, "t": "x"})");
  EXPECT_EQ(value(200, ""), R"({"static": {}, "t": {}})");
  EXPECT_EQ(value(404, "{}"), "500");
  EXPECT_EQ(value(200, "not json"), "500");
  EXPECT_EQ(service.asked, 5);
  EXPECT_EQ(stage->stats().vendordata_failed, 2U);
}

TEST(DynamicVendordata, AFailureIsAnEmptyObjectAndNotKept) {
  Service service;
  service.status = 503;
  const auto stage =
      stage_of(inventory_of({sample_instance()}),
               dynamic_options({{"up", service.url("/")}, {"down", "http://127.0.0.1:1/"}}));
  EXPECT_EQ(ask(*stage, Call::signed_for(kVendor2)).body.str(),
            R"({"static": {}, "up": {}, "down": {}})");
  service.status = 200;
  EXPECT_EQ(ask(*stage, Call::signed_for(kVendor2)).body.str(),
            R"({"static": {}, "up": {"color": "blue"}, "down": {}})");
  EXPECT_EQ(stage->stats().vendordata_asked, 4U);
}

TEST(DynamicVendordata, AFailingTargetIsNotAskedByEveryRequest) {
  Service service;
  service.status = 500;  // for this instance; others it may answer
  const auto stage =
      stage_of(inventory_of({sample_instance()}), dynamic_options({{"t", service.url("/")}}));
  testing::internal::CaptureStderr();
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(ask(*stage, Call::signed_for(kVendor2)).body.str(), R"({"static": {}, "t": {}})");
  }
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(service.asked, BackOff::kPatience);
  EXPECT_EQ(stage->stats().vendordata_spared, 50U - BackOff::kPatience);
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_THAT(log, testing::HasSubstr("vendordata target t"));
  // After its pause it is asked again.
  service.status = 200;
  std::this_thread::sleep_for(BackOff::kFirst);
  EXPECT_EQ(ask(*stage, Call::signed_for(kVendor2)).body.str(),
            R"({"static": {}, "t": {"color": "blue"}})");
}

TEST(DynamicVendordata, AFatalFailureStaysOneWithoutAQuestion) {
  Service service;
  service.body = "not json";
  ApiOptions options = dynamic_options({{"t", service.url("/")}});
  options.vendordata_dynamic_failure_fatal = true;
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ask(*stage, Call::signed_for(kVendor2)).status, 500U);
  }
  EXPECT_EQ(service.asked, BackOff::kPatience);
}

TEST(DynamicVendordata, ATargetThatCannotBeReachedIsLeftAloneByAllInstancesButNotForOnesSake) {
  const auto id = [](int number) { return "inst-" + std::to_string(number); };
  Inventory inventory;
  add_network(inventory);
  for (int i = 0; i < 10; ++i) {
    Instance one = sample_instance();
    one.uuid = id(i);
    inventory.instances[one.uuid] = std::make_shared<const Instance>(one);
  }
  Service service;
  service.status = 503;
  const auto stage = stage_of(std::move(inventory), dynamic_options({{"t", service.url("/")}}));
  const auto get = [&](int number) {
    return ask(*stage, Call::signed_for(kVendor2, id(number))).body.str();
  };
  for (int i = 0; i < 10; ++i) {
    get(0);
  }
  EXPECT_EQ(service.asked, BackOff::kPatience) << "one instance's failures are its own";
  get(1);
  EXPECT_EQ(service.asked, BackOff::kPatience + 1) << "they do not count for others";
  for (int i = 2; i < 10; ++i) {
    EXPECT_EQ(get(i), R"({"static": {}, "t": {}})");
  }
  EXPECT_EQ(service.asked, BackOff::kPatience + 2) << "three instances are enough";
}

TEST(DynamicVendordata, OneQuestionServesAllWhoAskMeanwhile) {
  Service service;
  std::atomic<bool> go = false;
  service.wait = [&] {
    while (!go) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  const auto stage =
      stage_of(inventory_of({sample_instance()}), dynamic_options({{"t", service.url("/")}}));
  // Each guest's loop, as a worker's does, outlives those who wake it.
  std::array<boost::asio::io_context, 8> loops;
  std::vector<std::jthread> guests;
  std::atomic<int> served = 0;
  for (boost::asio::io_context& loop : loops) {
    guests.emplace_back([&] {
      Call::signed_for(kVendor2).as_request([&](const Request& request) {
        served += metatap::ask(*stage, request, loop).body.str() ==
                          R"({"static": {}, "t": {"color": "blue"}})"
                      ? 1
                      : 0;
      });
    });
  }
  for (int i = 0; i < 1000 && stage->stats().requests < 8; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // who comes late gets what is kept
  go = true;
  guests.clear();
  EXPECT_EQ(served, 8);
  EXPECT_EQ(service.asked, 1);
}

TEST(DynamicVendordata, OrderAndMergingAreNovas) {
  Service service;
  const std::vector<DynamicTarget> targets{{"x", service.url("/")}, {"static", service.url("/")}};
  ApiOptions options = dynamic_options(targets);
  EXPECT_EQ(ask(*stage_of(inventory_of({sample_instance()}), options), Call::signed_for(kVendor2))
                .body.str(),
            R"({"static": {}, "x": {"color": "blue"}})");
  options.vendordata_providers = {"DynamicJSON", "StaticJSON"};
  EXPECT_EQ(ask(*stage_of(inventory_of({sample_instance()}), options), Call::signed_for(kVendor2))
                .body.str(),
            R"({"x": {"color": "blue"}, "static": {}})");
  options.vendordata_providers = {"DynamicJSON"};
  EXPECT_EQ(ask(*stage_of(inventory_of({sample_instance()}), options), Call::signed_for(kVendor2))
                .body.str(),
            R"({"x": {"color": "blue"}, "static": {"color": "blue"}})");
}

TEST(DynamicVendordata, UrlsAreChecked) {
  const auto stage =
      ApiStage::create(dynamic_options({{"t", "nonsense"}}), std::make_shared<const Inventory>());
  ASSERT_FALSE(stage);
  EXPECT_THAT(stage.error().message, testing::HasSubstr("t: 'nonsense'"));
}

// --- direct mode

class DirectTest : public testing::Test {
 protected:
  DirectTest() {
    Instance other = sample_instance();
    other.uuid = "other";
    other.hostname = "other";
    inventory_ = inventory_of({sample_instance(), other});
    add_network(inventory_);
    add_port(inventory_, sample_port("p1", kUuid, "10.0.0.5"));
    add_port(inventory_, sample_port("p2", "other", "10.0.0.6"));
    Port six = sample_port("p3", kUuid, "FD00:0::5");
    add_port(inventory_, six);
    options_.service_metadata_proxy = false;
  }
  Response get(const std::string& address,
               const std::string& target = "/latest/meta-data/hostname") {
    Call call;
    call.target = target;
    call.address = address;
    return call.answer(*stage_);
  }
  Inventory inventory_;
  ApiOptions options_;
  std::unique_ptr<ApiStage> stage_;
};

TEST_F(DirectTest, TheAddressSaysWhoAsks) {
  stage_ = stage_of(inventory_, options_);
  EXPECT_EQ(get("10.0.0.5").body.str(), "web-1.novalocal");
  EXPECT_EQ(get("::ffff:10.0.0.6").body.str(), "other.novalocal");
  EXPECT_EQ(get("fd00::5").body.str(), "web-1.novalocal");
  EXPECT_EQ(get("10.0.0.9").status, 404U);
  EXPECT_EQ(get("").status, 500U);
  EXPECT_EQ(get("", "/").status, 200U);
  // Headers of a proxy mean nothing here.
  Call call = Call::signed_for("/latest/meta-data/hostname");
  call.address = "10.0.0.6";
  EXPECT_EQ(call.answer(*stage_).body.str(), "other.novalocal");
}

TEST_F(DirectTest, OverlappingAddressesAreAnErrorThatTellsNothingOfOthers) {
  add_port(inventory_, sample_port("p4", "other", "10.0.0.5"));
  stage_ = stage_of(inventory_, options_);
  const Response response = get("10.0.0.5");
  EXPECT_EQ(response.status, 500U);
  EXPECT_EQ(response.body.str(),
            "500 Internal Server Error\n\n"
            "An unknown error has occurred. Please try your request again.\n\n   ");
  EXPECT_EQ(get("10.0.0.6").status, 200U);
}

TEST_F(DirectTest, FollowsThePorts) {
  stage_ = stage_of(inventory_, options_);
  InventoryChange change;
  change.before = std::make_shared<const Inventory>(inventory_);
  inventory_.ports.erase("p2");
  add_port(inventory_, sample_port("p5", "other", "10.0.0.66"));
  change.after = std::make_shared<const Inventory>(inventory_);
  change.ports = {"p2", "p5"};
  stage_->apply(change);
  EXPECT_EQ(get("10.0.0.6").status, 404U);
  EXPECT_EQ(get("10.0.0.66").body.str(), "other.novalocal");
}

// --- following the inventory

class FollowTest : public testing::Test {
 protected:
  FollowTest() {
    for (int n = 0; n < 20; ++n) {
      Instance i = sample_instance();
      i.uuid = uuid(n);
      now_.instances[i.uuid] = std::make_shared<const Instance>(i);
    }
    add_network(now_);
    for (int n = 0; n < 20; ++n) {
      add_port(now_, sample_port("port-" + std::to_string(n), uuid(n),
                                 "10.0.0." + std::to_string(n + 5)));
    }
    published_ = std::make_shared<const Inventory>(now_);
    auto stage = ApiStage::create(sample_options(), published_);
    EXPECT_TRUE(stage);
    stage_ = std::move(*stage);
    renders_ = stage_->stats().renders;
  }
  static std::string uuid(int n) { return "instance-" + std::to_string(n); }
  /// Applies what was done to now_ and returns how many instances were rendered.
  std::uint64_t apply(InventoryChange change) {
    change.before = published_;
    change.after = published_ = std::make_shared<const Inventory>(now_);
    stage_->apply(change);
    const auto before = std::exchange(renders_, stage_->stats().renders);
    return renders_ - before;
  }
  std::string get(int n, const std::string& path) {
    return Call::signed_for(path, uuid(n)).answer(*stage_).body.str();
  }
  Inventory now_;
  std::shared_ptr<const Inventory> published_;
  std::unique_ptr<ApiStage> stage_;
  std::uint64_t renders_ = 0;
};

TEST_F(FollowTest, OneChangedInstanceIsOneRendering) {
  Instance renamed = *now_.instances.at(uuid(3));
  renamed.hostname = "renamed";
  now_.instances[uuid(3)] = std::make_shared<const Instance>(renamed);
  InventoryChange change;
  change.instances = {uuid(3)};
  EXPECT_EQ(apply(change), 1U);
  EXPECT_EQ(get(3, "/latest/meta-data/hostname"), "renamed.novalocal");
  EXPECT_EQ(get(4, "/latest/meta-data/hostname"), "web-1.novalocal");
}

TEST_F(FollowTest, AddedAndRemovedInstances) {
  now_.instances.erase(uuid(1));
  Instance fresh = sample_instance();
  fresh.uuid = "fresh";
  now_.instances["fresh"] = std::make_shared<const Instance>(fresh);
  InventoryChange change;
  change.instances = {uuid(1), "fresh"};
  EXPECT_EQ(apply(change), 1U);
  EXPECT_EQ(Call::signed_for("/latest", uuid(1)).answer(*stage_).status, 404U);
  EXPECT_EQ(Call::signed_for("/latest", "fresh").answer(*stage_).status, 200U);
  EXPECT_EQ(stage_->stats().instances, 20U);
}

TEST_F(FollowTest, APortsChangeTouchesItsOwnersOldAndNew) {
  Port port = *now_.ports.at("port-2");
  port.device_id = uuid(5);
  add_port(now_, port);
  InventoryChange change;
  change.ports = {"port-2"};
  EXPECT_EQ(apply(change), 2U);
  EXPECT_EQ(get(2, "/openstack/latest/network_data.json"), "{}");
  EXPECT_THAT(get(5, "/openstack/latest/network_data.json"), testing::HasSubstr("10.0.0.7"));
}

TEST_F(FollowTest, ASubnetsChangeTouchesItsNetwork) {
  Subnet subnet = *now_.subnets.at("sub");
  subnet.dns_nameservers = {"9.9.9.9"};
  now_.subnets["sub"] = std::make_shared<const Subnet>(subnet);
  InventoryChange change;
  change.subnets = {"sub"};
  EXPECT_EQ(apply(change), 20U);
  EXPECT_THAT(get(7, "/openstack/latest/network_data.json"), testing::HasSubstr("9.9.9.9"));
}

TEST_F(FollowTest, ADhcpPortTouchesItsNetwork) {
  Port dhcp = sample_port("dhcp", "agent", "10.0.0.2");
  dhcp.device_owner = "network:dhcp";
  add_port(now_, dhcp);
  InventoryChange change;
  change.ports = {"dhcp"};
  EXPECT_EQ(apply(change), 20U);
  EXPECT_THAT(get(7, "/openstack/latest/network_data.json"), testing::HasSubstr("ipv4_dhcp"));
  now_.ports.erase("dhcp");
  EXPECT_EQ(apply(change), 20U);
  EXPECT_THAT(get(7, "/openstack/latest/network_data.json"),
              testing::Not(testing::HasSubstr("ipv4_dhcp")));
}

TEST_F(FollowTest, EverythingAtOnceFromNothing) {
  auto stage = ApiStage::create(sample_options(), std::make_shared<const Inventory>());
  ASSERT_TRUE(stage);
  InventoryChange change;
  change.before = std::make_shared<const Inventory>();
  change.after = published_;
  for (const auto& [id, instance] : now_.instances) {
    change.instances.push_back(id);
  }
  for (const auto& [id, port] : now_.ports) {
    change.ports.push_back(id);
  }
  (*stage)->apply(change);
  EXPECT_EQ((*stage)->stats().instances, 20U);
  EXPECT_EQ(Call::signed_for("/latest/meta-data/local-ipv4", uuid(9)).answer(**stage).body.str(),
            "10.0.0.14");
}

TEST_F(FollowTest, ReadersNeverSeeHalfAChange) {
  // Host name in three places: all old or all new in each answer, and never a miss.
  std::atomic<bool> done = false;
  std::vector<std::jthread> readers;
  std::atomic<int> answers = 0;
  for (int n = 0; n < 2; ++n) {
    readers.emplace_back([&] {
      while (!done) {
        const Response response =
            Call::signed_for("/latest/meta-data/hostname", uuid(3)).answer(*stage_);
        ASSERT_EQ(response.status, 200U);
        ASSERT_THAT(response.body.str(), testing::EndsWith(".novalocal"));
        ++answers;
      }
    });
  }
  for (int n = 0; n < 200 || answers < 1000; ++n) {
    Instance renamed = *now_.instances.at(uuid(3));
    renamed.hostname = "name-" + std::to_string(n);
    now_.instances[uuid(3)] = std::make_shared<const Instance>(renamed);
    InventoryChange change;
    change.instances = {uuid(3)};
    apply(change);
  }
  done = true;
}

// --- what instances share

TEST(Sharing, EqualBodiesAreKeptOnce) {
  std::vector<Instance> instances;
  for (int n = 0; n < 100; ++n) {
    Instance i = sample_instance();
    i.uuid = "i-" + std::to_string(n);
    i.user_data = std::string(20000, 'A');
    instances.push_back(i);
  }
  const auto stage = stage_of(inventory_of(instances));
  EXPECT_EQ(stage->stats().layouts, 1U);
  EXPECT_LT(stage->stats().shared_strings, 40U);
  EXPECT_LT(stage->document("i-7")->bytes(), 3000U);
}

TEST(Sharing, StringsGoWithTheirLastHolder) {
  StringPool pool;
  auto one = pool.share("text");
  EXPECT_EQ(pool.share("text").get(), one.get());
  EXPECT_EQ(pool.size(), 1U);
  one.reset();
  EXPECT_EQ(pool.size(), 0U);
  auto survivor = StringPool().share("outlives its pool");
  EXPECT_EQ(*survivor, "outlives its pool");
}

}  // namespace
}  // namespace metatap::api
