// SPDX-License-Identifier: Apache-2.0
// The files of a config drive against what HTTP serves (Nova's config drive tests).
#include "api/drive_tree.hpp"

#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

Result<std::vector<DriveFile>> files_of(ApiStage& stage, const std::string& uuid = kUuid,
                                        std::optional<std::string> admin_pass = std::nullopt) {
  boost::asio::io_context context;
  Result<std::vector<DriveFile>> files;
  boost::asio::co_spawn(
      context,
      [&]() -> boost::asio::awaitable<void> {
        files = co_await stage.drive_files(uuid, admin_pass);
      },
      boost::asio::detached);
  context.run();
  return files;
}

std::string without_seed(std::string json) {
  const auto at = json.find("\"random_seed\": \"");
  return at == std::string::npos ? json : json.erase(at, 16 + 684 + 1);
}

TEST(DriveTree, FortyNineFilesInNovasOrder) {
  const auto stage = stage_of(inventory_of({sample_instance()}));
  const auto files = files_of(*stage);
  ASSERT_TRUE(files);
  std::vector<std::string> expected{"ec2/2009-04-04/user-data", "ec2/2009-04-04/meta-data.json",
                                    "ec2/latest/user-data", "ec2/latest/meta-data.json"};
  const std::vector<std::string> versions{"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15",
                                          "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
                                          "2020-10-14", "2025-04-04", "latest"};
  for (const std::string& version : versions) {
    const std::string base = "openstack/" + version + "/";
    expected.push_back(base + "meta_data.json");
    expected.push_back(base + "user_data");
    if (version >= "2013-10-17") {
      expected.push_back(base + "vendor_data.json");
    }
    if (version >= "2015-10-15") {
      expected.push_back(base + "network_data.json");
    }
    if (version >= "2016-10-06") {
      expected.push_back(base + "vendor_data2.json");
    }
  }
  std::vector<std::string> paths;
  for (const DriveFile& file : *files) {
    paths.push_back(file.path);
  }
  EXPECT_EQ(paths, expected);
  EXPECT_EQ(paths.size(), 49U);
}

TEST(DriveTree, EachOpenstackFileEqualsWhatHttpServes) {
  Instance i = sample_instance();
  i.network_info =
      R"([{"id": "v", "address": "aa:aa:aa:aa:aa:aa", "network": {"id": "n", "subnets": [
          {"cidr": "10.0.0.0/24", "version": 4, "ips": [{"address": "10.0.0.5"}], "dns": [],
           "routes": [], "meta": {}}], "meta": {"injected": true}}}])";
  const auto stage = stage_of(inventory_of({i}));
  const auto files = files_of(*stage);
  ASSERT_TRUE(files);
  int compared = 0;
  for (const DriveFile& file : *files) {
    if (file.path.starts_with("openstack/") || file.path.ends_with("user-data")) {
      EXPECT_EQ(without_seed(file.bytes), without_seed(body_of(*stage, "/" + file.path)))
          << file.path;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 48);  // 45, two of EC2, one content file
}

TEST(DriveTree, Ec2FileIsTheFlatObjectInNovasOrder) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  add_port(inventory, sample_port("p", kUuid, "10.0.0.5"));
  const auto stage = stage_of(std::move(inventory));
  const auto files = files_of(*stage);
  ASSERT_TRUE(files);
  EXPECT_EQ(
      (*files)[3].bytes,
      R"({"ami-id": "ami-00000001", "ami-launch-index": 0, "ami-manifest-path": "FIXME", )"
      R"("instance-id": "i-00000001", "hostname": "web-1.novalocal", "local-ipv4": "10.0.0.5", )"
      R"("reservation-id": "r-12345678", "security-groups": ["default"], "public-keys": {"0": )"
      R"({"_name": "0=alice", "openssh-key": "ssh-ed25519 AAAA alice\n"}}, )"
      R"("local-hostname": "web-1.novalocal", "public-hostname": "web-1.novalocal", )"
      R"("public-ipv4": "", "instance-type": "m1.small", "block-device-mapping": )"
      R"({"ami": "vda", "root": "/dev/vda"}, "placement": {"availability-zone": "nova"}, )"
      R"("instance-action": "none"})");
}

TEST(DriveTree, CarriesFilesAndAdminPass) {
  Instance i = sample_instance();
  i.personality = {{"/etc/motd", "aGVsbG8="}, {"bin", "AAH/"}};
  const auto stage = stage_of(inventory_of({i}));
  const auto files = files_of(*stage, kUuid, "s3cret");
  ASSERT_TRUE(files);
  std::map<std::string, std::string> by_path;
  for (const DriveFile& file : *files) {
    by_path[file.path] = file.bytes;
  }
  EXPECT_EQ(by_path.at("openstack/content/0000"), "hello");
  EXPECT_EQ(by_path.at("openstack/content/0001"), std::string("\0\x01\xff", 3));
  for (const auto* version : {"2012-08-10", "latest"}) {
    const auto json = nlohmann::ordered_json::parse(
        by_path.at(std::string("openstack/") + version + "/meta_data.json"));
    EXPECT_EQ(json["admin_pass"], "s3cret");
    EXPECT_EQ(json["files"].dump(), R"([{"path":"/etc/motd","content_path":"/content/0000"},)"
                                    R"({"path":"bin","content_path":"/content/0001"}])");
  }
  // Never over HTTP.
  const std::string served = body_of(*stage, "/openstack/latest/meta_data.json");
  EXPECT_THAT(served, testing::Not(testing::HasSubstr("files")));
  EXPECT_THAT(served, testing::Not(testing::HasSubstr("admin_pass")));
  EXPECT_EQ(status_of(*stage, "/openstack/content/0000"), 404U);
}

TEST(DriveTree, SkippedVersionsMissingVendordataUnknownInstance) {
  ApiOptions options = sample_options();
  options.config_drive_skip_versions = {"1.0", "latest"};
  options.vendordata_providers = {};
  options.newest_openstack_version = "2016-10-06";
  const auto stage = stage_of(inventory_of({sample_instance()}), options);
  const auto files = files_of(*stage);
  ASSERT_TRUE(files);
  EXPECT_EQ(files->front().path, "ec2/2007-01-19/user-data");
  for (const DriveFile& file : *files) {
    EXPECT_THAT(file.path, testing::Not(testing::EndsWith("vendor_data.json")));
    EXPECT_THAT(file.path, testing::Not(testing::StartsWith("ec2/latest")));
    EXPECT_THAT(file.path, testing::Not(testing::HasSubstr("2025")));
  }
  const auto nobody = files_of(*stage, "nobody");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace metatap::api
