// SPDX-License-Identifier: Apache-2.0
// Replays what a real Nova answered: every path of two instances, each with status, content type
// and body. The differences that are meant are listed here, and printed.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "inventory/document.hpp"
#include "unit/waiting.hpp"

namespace metatap::api {
namespace {

const std::filesystem::path kSample = METATAP_TEST_DATA "/nova-sample";
constexpr std::string_view kSecret = "peers-shared-secret";

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Where we differ from Nova because Nova's answer was an accident.
struct Improvement {
  std::regex path;
  unsigned nova, ours;
  std::string why;
  int seen = 0;
};

std::vector<Improvement> improvements() {
  return {{std::regex("/openstack/[^/]+/content"), 500, 404,
           "a missing directory is not an internal error"}};
}

class Replay : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto inventory = parse_document(contents(kSample / "inventory.json"));
    ASSERT_TRUE(inventory) << inventory.error().message;
    inventory_ = std::make_shared<const Inventory>(std::move(*inventory));
    ApiOptions options;
    options.metadata_proxy_shared_secret = kSecret;
    options.vendordata_jsonfile_path = kSample / "vendordata.json";
    options.newest_openstack_version = "2020-10-14";
    auto stage = ApiStage::create(options, inventory_);
    ASSERT_TRUE(stage) << stage.error().message;
    stage_ = std::move(*stage);
    for (const auto& [id, instance] : inventory_->instances) {
      if (instance->name == GetParam()) {
        instance_ = instance;
      }
    }
    ASSERT_TRUE(instance_);
  }

  [[nodiscard]] Response get(std::string_view method, std::string_view path) {
    const auto signature = sign(kSecret, instance_->uuid);
    const std::array headers{
        Header{"Host", "127.0.0.1:8775"}, Header{"X-Instance-ID", instance_->uuid},
        Header{"X-Tenant-ID", instance_->project_id},
        Header{"X-Instance-ID-Signature", std::string_view(signature.data(), signature.size())},
        Header{"X-Forwarded-For", "10.70.0.11"}};
    const Peer peer;
    Request request;
    request.method = method;
    request.target = path;
    request.headers = headers;
    request.peer = &peer;
    auto response = ask_at_once(*stage_, request);
    EXPECT_TRUE(response) << path;
    return response ? std::move(*response) : Response{};
  }

  std::shared_ptr<const Inventory> inventory_;
  std::shared_ptr<const Instance> instance_;
  std::unique_ptr<ApiStage> stage_;
};

TEST_P(Replay, AnswersAsNovaDid) {
  std::ifstream crawl(kSample / "crawl" / (GetParam() + ".jsonl"));
  auto meant = improvements();
  int replayed = 0;
  for (std::string line; std::getline(crawl, line);) {
    const auto row = nlohmann::json::parse(line);
    const auto path = row["p"].get<std::string>();
    const auto status = row["s"].get<unsigned>();
    Response response = get(row["m"].get<std::string>(), path);
    ++replayed;

    const auto improvement = std::ranges::find_if(meant, [&](const Improvement& i) {
      return i.nova == status && std::regex_match(path, i.path);
    });
    if (improvement != meant.end()) {
      EXPECT_EQ(response.status, improvement->ours) << path;
      ++improvement->seen;
      continue;
    }
    std::string type;
    for (const auto& header : row["h"]) {
      if (header[0] == "Content-Type") {
        type = header[1];
      }
    }
    EXPECT_EQ(response.status, status) << path;
    EXPECT_EQ(response.content_type, type) << path;
    EXPECT_EQ(response.body.size(), row["n"].get<std::size_t>()) << path;
    std::string body = response.body.str();
    if (row.contains("rs")) {
      static const std::regex kSeed(R"re("random_seed": "[A-Za-z0-9+/]{683}=")re");
      body = std::regex_replace(body, kSeed, R"("random_seed": "@RANDOM_SEED@")");
    }
    EXPECT_EQ(body, row.contains("b") ? contents(kSample / "bodies" / row["b"].get<std::string>())
                                      : std::string())
        << path;
  }
  EXPECT_GT(replayed, 400);
  std::cout << replayed << " answers of \"" << GetParam()
            << "\" replayed; the same but for these, which are meant:\n";
  for (const Improvement& i : meant) {
    std::cout << "  Nova " << i.nova << ", ours " << i.ours << ", " << i.seen << " paths: " << i.why
              << "\n";
    EXPECT_GT(i.seen, 0) << "an improvement nobody meets";
  }
}

INSTANTIATE_TEST_SUITE_P(NovaSample, Replay, testing::Values("full", "dhcp"),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace metatap::api
