// SPDX-License-Identifier: Apache-2.0
#include "api/config_drive.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <set>

#include "base/text.hpp"
#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

/// The text with the random seed taken out, which is new each time.
std::string without_seed(std::string text) {
  constexpr std::string_view kKey = "\"random_seed\": \"";
  if (const auto at = text.find(kKey); at != std::string::npos) {
    const auto begin = at + kKey.size();
    EXPECT_EQ(text.find('"', begin), begin + 684);
    text.erase(begin, 684);
  }
  return text;
}

class ConfigDrive : public testing::Test {
 protected:
  ConfigDrive() {
    Instance instance = sample_instance();
    instance.metadata = {{"role", "größe"}};
    instance.personality = {{"/etc/motd", base64_encoded("hello\n")},
                            {"/etc/empty", base64_encoded("")}};
    inventory_ = inventory_of({std::move(instance)});
    add_network(inventory_);
    add_port(inventory_, sample_port("port", kUuid, "10.0.0.5"));
  }
  std::vector<DriveFile> drive(ApiStage& stage, DriveExtras extras) {
    boost::asio::io_context context;
    auto made = boost::asio::co_spawn(context, make_config_drive(stage, kUuid, std::move(extras)),
                                      boost::asio::use_future);
    context.run();
    auto files = made.get();
    EXPECT_TRUE(files) << files.error().message;
    return files ? *std::move(files) : std::vector<DriveFile>{};
  }
  static std::string contents(const std::vector<DriveFile>& files, std::string_view path) {
    for (const auto& file : files) {
      if (file.path == path) {
        return file.contents;
      }
    }
    ADD_FAILURE() << "no " << path;
    return {};
  }

  Inventory inventory_;
};

TEST_F(ConfigDrive, EachFileIsWhatHttpServes) {
  const auto stage = stage_of(inventory_);
  const auto files = drive(*stage, {.admin_pass = std::nullopt, .personality = false});
  std::set<std::string> seeds;
  for (const auto& file : files) {
    if (file.path.starts_with("ec2/") && file.path.ends_with("meta-data.json")) {
      continue;  // HTTP has a directory there: see the next test
    }
    const auto body = body_of(
        *stage, "/" + std::string(file.path.starts_with("ec2/") ? file.path.substr(4) : file.path));
    EXPECT_EQ(without_seed(file.contents), without_seed(body)) << file.path;
    if (file.path.ends_with("meta_data.json")) {
      seeds.insert(file.contents.substr(file.contents.find("random_seed") + 15, 684));
    }
  }
  EXPECT_EQ(seeds.size(), kOpenstackVersions.size() + 1) << "each file has a seed of its own";
}

TEST_F(ConfigDrive, TheEc2FileHoldsWhatTheHttpTreeHolds) {
  const auto stage = stage_of(inventory_);
  const auto files = drive(*stage, {});
  for (const std::string version : {"2009-04-04", "latest"}) {
    const auto tree = Json::parse(contents(files, "ec2/" + version + "/meta-data.json"));
    ASSERT_TRUE(tree);
    for (const auto& [key, value] : tree->members()) {
      if (value.kind() == Json::Kind::string || value.kind() == Json::Kind::number) {
        EXPECT_EQ(value.text(), body_of(*stage, "/" + version + "/meta-data/" + key)) << key;
      }
    }
    const Json* keys = tree->find("public-keys");
    ASSERT_NE(keys, nullptr);
    EXPECT_EQ(keys->find("0")->find("_name")->text(), "0=alice");
    EXPECT_EQ(keys->find("0")->find("openssh-key")->text(),
              body_of(*stage, "/" + version + "/meta-data/public-keys/0/openssh-key"));
  }
}

TEST_F(ConfigDrive, HasNovasFilesInNovasOrder) {
  const auto stage = stage_of(inventory_);
  std::vector<std::string> paths;
  for (const auto& file : drive(*stage, {})) {
    paths.push_back(file.path);
  }
  // As in Nova: 4 EC2 files and 45 of ten versions and latest; and 2 injected ones.
  ASSERT_EQ(paths.size(), 4U + 45U + 2U);
  EXPECT_THAT(std::vector(paths.begin(), paths.begin() + 11),
              ElementsAre("ec2/2009-04-04/user-data", "ec2/2009-04-04/meta-data.json",
                          "ec2/latest/user-data", "ec2/latest/meta-data.json",
                          "openstack/2012-08-10/meta_data.json", "openstack/2012-08-10/user_data",
                          "openstack/2013-04-04/meta_data.json", "openstack/2013-04-04/user_data",
                          "openstack/2013-10-17/meta_data.json", "openstack/2013-10-17/user_data",
                          "openstack/2013-10-17/vendor_data.json"));
  EXPECT_THAT(std::vector(paths.end() - 7, paths.end()),
              ElementsAre("openstack/latest/meta_data.json", "openstack/latest/user_data",
                          "openstack/latest/vendor_data.json", "openstack/latest/network_data.json",
                          "openstack/latest/vendor_data2.json", "openstack/content/0000",
                          "openstack/content/0001"));
}

TEST_F(ConfigDrive, CarriesWhatOnlyADriveCarries) {
  const auto stage = stage_of(inventory_);
  const auto files = drive(*stage, {.admin_pass = "pä\"ss"});
  for (const auto& file : files) {
    if (file.path.ends_with("meta_data.json")) {
      EXPECT_THAT(file.contents, HasSubstr(R"("admin_pass": "p\u00e4\"ss")")) << file.path;
      EXPECT_THAT(file.contents,
                  HasSubstr(R"("files": [{"path": "/etc/motd", "content_path": "/content/0000"})"))
          << file.path;
    }
  }
  EXPECT_EQ(contents(files, "openstack/content/0000"), "hello\n");
  EXPECT_EQ(contents(files, "openstack/content/0001"), "");
  // It is not kept: neither the next drive nor HTTP knows it.
  EXPECT_THAT(contents(drive(*stage, {}), "openstack/latest/meta_data.json"),
              Not(HasSubstr("admin_pass")));
  EXPECT_THAT(body_of(*stage, "/openstack/latest/meta_data.json"), Not(HasSubstr("admin_pass")));
}

TEST_F(ConfigDrive, FollowsTheOptions) {
  auto options = sample_options();
  options.config_drive_skip_versions = {"latest"};
  options.newest_openstack_version = "2013-04-04";
  const auto stage = stage_of(inventory_, options);
  const auto files = drive(*stage, {.personality = false});
  ASSERT_EQ(files.size(), 9U * 2 + 3U * 2);
  EXPECT_EQ(files.front().path, "ec2/1.0/user-data");
  EXPECT_EQ(files.back().path, "openstack/latest/user_data");
  EXPECT_THAT(files[1].contents, Not(HasSubstr("instance-action")));
}

}  // namespace
}  // namespace metatap::api
