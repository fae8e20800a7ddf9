// SPDX-License-Identifier: Apache-2.0
// The list of everything in which our answers are meant to differ from Nova's: each line is a
// request, what Nova answers, and what we do. Printed, so that nobody has to look for it.
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "unit/waiting.hpp"

namespace metatap::api {
namespace {

constexpr std::string_view kSecret = "secret";

class Improvements : public testing::Test {
 protected:
  Improvements() {
    auto inventory = std::make_shared<Inventory>();
    auto instance = std::make_shared<Instance>();
    instance->uuid = "uuid";
    instance->project_id = "project";
    instance->hostname = "h";
    instance->user_data = "dQ==";
    instance->security_groups = {"default"};
    inventory->instances["uuid"] = instance;
    ApiOptions options;
    options.metadata_proxy_shared_secret = kSecret;
    options.vendordata_jsonfile_path = "/nonexistent/vendordata.json";
    ApiHooks hooks;
    hooks.store_password = [this](std::string, std::string) -> boost::asio::awaitable<Status> {
      if (std::exchange(stored_, true)) {
        co_return fail(ErrorCode::conflict, "there is one");
      }
      co_return Status();
    };
    stage_ = std::move(*ApiStage::create(options, inventory, std::move(hooks)));
  }

  struct Ask {
    std::string target, method = "GET", body;
    std::vector<Header> more;
    bool tamper = false;
  };

  unsigned status_of(const Ask& ask) {
    const Signature signature = sign(kSecret, "uuid");
    std::string hex(signature.data(), signature.size());
    if (ask.tamper) {
      hex[0] = '\xe9';
    }
    std::vector<Header> headers{
        {"X-Instance-ID", "uuid"}, {"X-Tenant-ID", "project"}, {"X-Instance-ID-Signature", hex}};
    headers.insert(headers.end(), ask.more.begin(), ask.more.end());
    const Peer peer;
    Request request;
    request.method = ask.method;
    request.target = ask.target;
    request.headers = headers;
    request.body = ask.body;
    request.peer = &peer;
    return metatap::ask(*stage_, request).status;
  }

  void expect(const Ask& ask, const std::string& nova, unsigned ours, const std::string& why) {
    EXPECT_EQ(status_of(ask), ours) << ask.method << " " << ask.target;
    std::cout << "  " << ask.method << " " << ask.target << ": Nova " << nova << ", ours " << ours
              << ": " << why << "\n";
  }

  std::unique_ptr<ApiStage> stage_;
  bool stored_ = false;
};

TEST_F(Improvements, AreTheseAndNoOthers) {
  const std::string accident = "nothing is there; Nova stumbles";
  expect({"/latest/meta-data/hostname/x"}, "500", 404, accident);
  expect({"/latest/meta-data/ami-launch-index/x"}, "500", 404, accident);
  expect({"/latest/meta-data/security-groups/default"}, "500", 404, accident);
  expect({"/latest/user-data/x"}, "500", 404, accident);
  expect({"/openstack/latest/content"}, "500", 404, accident);
  expect({"/%ff%fe"}, "not tried", 404, "no path of ours is not UTF-8");
  expect({.target = "/latest", .tamper = true}, "500", 403,
         "a signature with bytes that are not ASCII");
  expect({.target = "/latest", .more = {{"X-Instance-ID", "uuid"}}}, "as its web server folds them",
         400, "an identity given twice is none");
  expect({.target = "/latest", .more = {{"X-Metadata-Provider", "nsx"}}}, "LB mode", 400,
         "not supported, and said so");
  expect({"/openstack/latest/vendor_data.json"}, "500 on every path", 200,
         "a missing vendordata file counts as {}");
  const std::string password = "/openstack/latest/password";
  expect({password, "POST", "\xff"}, "500", 400, "a password is text");
  EXPECT_EQ(status_of({password, "POST", "first"}), 200U);
  expect({password, "POST", "second"}, "200 within its cache time, overwriting", 409,
         "a password is never overwritten");
  ApiOptions open;
  EXPECT_FALSE(ApiStage::create(open, std::make_shared<const Inventory>()));
  std::cout << "  an empty metadata_proxy_shared_secret: Nova warns, ours does not start\n"
            << "  changes: Nova shows them after metadata_cache_expiration, ours at once\n"
            << "  a password without Content-Length (chunked): Nova 500, ours stores it\n";
}

}  // namespace
}  // namespace metatap::api
