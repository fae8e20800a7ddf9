// SPDX-License-Identifier: Apache-2.0
// The handler: who may ask, how paths are read, methods, error bodies (Nova's handler tests).
#include "api/stage.hpp"

#include <gmock/gmock.h>

#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

class HandlerTest : public testing::Test {
 protected:
  HandlerTest() {
    Instance other = sample_instance();
    other.uuid = "5f4b1a6e-0002-4c5b-9d3e-000000000002";
    other.project_id = "project-b";
    other.hostname = "other";
    stage_ = stage_of(inventory_of({sample_instance(), other}));
  }
  std::unique_ptr<ApiStage> stage_;
};

std::string plain(unsigned status, const std::string& title, const std::string& message) {
  return std::to_string(status) + " " + title + "\n\n" + message + "\n\n   ";
}

TEST_F(HandlerTest, RootListsVersionsWithoutAuthentication) {
  const std::string versions =
      "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n"
      "2009-04-04\nlatest";
  for (const auto* target : {"/", "", "//", "/foo/..", "/foo/../", "/?x", "/%2e"}) {
    Call call;
    call.target = target;
    const Response response = call.answer(*stage_);
    EXPECT_EQ(response.status, 200U) << target;
    EXPECT_EQ(response.content_type, "text/plain; charset=UTF-8");
    EXPECT_EQ(response.body.str(), versions) << target;
  }
  EXPECT_EQ(Call::signed_for("/ec2").answer(*stage_).body.str(), versions);
  Call unsigned_call;
  unsigned_call.target = "/ec2";
  EXPECT_EQ(unsigned_call.answer(*stage_).status, 400U);
}

TEST_F(HandlerTest, ChecksInNovasOrderWithNovasWords) {
  const auto refused = [&](const Call& call) {
    const Response response = call.answer(*stage_);
    return std::pair(response.status, response.body.str());
  };
  const auto call = [] { return Call::signed_for("/no/such/path"); };
  EXPECT_EQ(refused(Call{}.by("GET").without("")).first, 200U);  // "/"
  EXPECT_EQ(
      refused(call().without("X-Instance-ID").without("X-Tenant-ID")),
      std::pair(400U, plain(400, "Bad Request", "X-Instance-ID header is missing from request.")));
  EXPECT_EQ(refused(call().without("X-Instance-ID-Signature").without("X-Tenant-ID")),
            std::pair(400U, plain(400, "Bad Request",
                                  "X-Instance-ID-Signature header is missing from request.")));
  EXPECT_EQ(
      refused(call().without("X-Tenant-ID")),
      std::pair(400U, plain(400, "Bad Request", "X-Tenant-ID header is missing from request.")));
  EXPECT_EQ(refused(call().without("X-Instance-ID-Signature").with("X-Instance-ID-Signature", "")),
            std::pair(403U, plain(403, "Forbidden", "Invalid proxy request signature.")));
  EXPECT_EQ(refused(call()),
            std::pair(404U, plain(404, "Not Found", "The resource could not be found.")));
  EXPECT_EQ(plain(404, "Not Found", "The resource could not be found.").size(), 52U);
}

TEST_F(HandlerTest, TheSignatureIsForThatInstanceInLowerCaseHex) {
  Call upper = Call::signed_for("/latest");
  for (char& c : upper.headers[2].second) {
    c = static_cast<char>(std::toupper(c));
  }
  EXPECT_EQ(upper.answer(*stage_).status, 403U);
  Call of_another =
      Call::signed_for("/latest", "5f4b1a6e-0002-4c5b-9d3e-000000000002", "project-b");
  of_another.headers[0].second = kUuid;
  of_another.headers[1].second = "project-a";
  EXPECT_EQ(of_another.answer(*stage_).status, 403U);
  Call shorter = Call::signed_for("/latest");
  shorter.headers[2].second.pop_back();
  EXPECT_EQ(shorter.answer(*stage_).status, 403U);
  Call binary = Call::signed_for("/latest");
  binary.headers[2].second[5] = '\xfc';
  EXPECT_EQ(binary.answer(*stage_).status, 403U);
  // RFC 4231, test case 2, to know that it is HMAC-SHA256 at all.
  const Signature known = sign("Jefe", "what do ya want for nothing?");
  EXPECT_EQ(std::string(known.data(), known.size()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST_F(HandlerTest, UnknownInstanceIs404OnlyWithItsSignature) {
  const std::string nobody = "00000000-0000-0000-0000-000000000000";
  EXPECT_EQ(Call::signed_for("/latest", nobody).answer(*stage_).status, 404U);
  Call forged = Call::signed_for("/latest", nobody);
  forged.headers[2].second = std::string(64, '0');
  EXPECT_EQ(forged.answer(*stage_).status, 403U);
}

TEST_F(HandlerTest, UnknownInstanceIs503WhileTheInventoryIsNotKnown) {
  bool known = false;
  ApiHooks hooks;
  hooks.inventory_known = [&] { return known; };
  const auto stage =
      stage_of(inventory_of({sample_instance()}), sample_options(), std::move(hooks));
  const auto other = Call::signed_for("/latest", "00000000-0000-0000-0000-000000000000");
  const auto answer = other.answer(*stage);
  EXPECT_EQ(answer.status, 503U);
  EXPECT_THAT(answer.headers, testing::Contains(testing::Pair("Retry-After", testing::_)));
  EXPECT_EQ(Call::signed_for("/latest").answer(*stage).status, 200U);
  EXPECT_EQ(Call(other).without("X-Instance-ID-Signature").answer(*stage).status, 400U);
  known = true;
  EXPECT_EQ(other.answer(*stage).status, 404U);
}

TEST_F(HandlerTest, AnotherTenantIs404) {
  EXPECT_EQ(Call::signed_for("/latest", kUuid, "project-b").answer(*stage_).status, 404U);
  EXPECT_EQ(Call::signed_for("/latest", kUuid, "PROJECT-A").answer(*stage_).status, 404U);
}

TEST_F(HandlerTest, RepeatedAuthenticationHeadersAre400) {
  for (const auto* name :
       {"X-Instance-ID", "x-instance-id", "X-Tenant-ID", "X-Instance-ID-Signature"}) {
    Call call = Call::signed_for("/latest");
    call.with(name, "5f4b1a6e-0002-4c5b-9d3e-000000000002");
    EXPECT_EQ(call.answer(*stage_).status, 400U) << name;
  }
}

TEST_F(HandlerTest, OtherSpellingsAreNotHeadersOfOurs) {
  Call call = Call::signed_for("/latest/meta-data/hostname");
  call.with("X_Instance_ID", "5f4b1a6e-0002-4c5b-9d3e-000000000002");
  EXPECT_EQ(call.answer(*stage_).body.str(), "web-1.novalocal");
}

TEST_F(HandlerTest, ProviderModeIsRefused) {
  Call call = Call::signed_for("/latest");
  call.with("X-Metadata-Provider", "nsx");
  EXPECT_EQ(call.answer(*stage_).status, 400U);
  Call empty = Call::signed_for("/latest");
  empty.with("X-Metadata-Provider", "");
  EXPECT_EQ(empty.answer(*stage_).status, 200U);
}

TEST(Start, AnEmptySecretIsRefusedAtStart) {
  ApiOptions options;
  const auto stage = ApiStage::create(options, std::make_shared<const Inventory>());
  ASSERT_FALSE(stage);
  EXPECT_EQ(stage.error().code, ErrorCode::invalid);
  EXPECT_THAT(stage.error().message, testing::HasSubstr("metadata_proxy_shared_secret"));
}

}  // namespace
}  // namespace metatap::api
