// SPDX-License-Identifier: Apache-2.0
#include "api/options.hpp"

#include <gmock/gmock.h>

namespace metatap::api {
namespace {

Result<ApiOptions> from(std::string_view text) {
  const auto config = Config::parse(text);
  EXPECT_TRUE(config);
  return ApiOptions::from(*config);
}

TEST(ApiOptions, DefaultsAreNovas) {
  const auto options = from("");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->metadata_listen_port, 8775);
  EXPECT_TRUE(options->service_metadata_proxy);
  EXPECT_EQ(options->dhcp_domain, "novalocal");
  EXPECT_TRUE(options->static_vendordata());
  EXPECT_FALSE(options->dynamic_vendordata());
  EXPECT_EQ(options->config_drive_skip_versions.size(), 8U);
  EXPECT_EQ(options->openstack_versions(), 10U);
}

TEST(ApiOptions, ReadsANovaConf) {
  const auto options = from(R"([DEFAULT]
metadata_listen = 127.0.0.1
metadata_listen_port = 9775
metadata_proxy_shared_secret = agents
[neutron]
service_metadata_proxy = false
metadata_proxy_shared_secret = novas
[api]
dhcp_domain =
vendordata_providers = StaticJSON, DynamicJSON
vendordata_jsonfile_path = /etc/nova/vendordata.json
vendordata_dynamic_targets = a@http://h/x@y, nonsense, b@https://h2, a@http://other
vendordata_dynamic_connect_timeout = 3
vendordata_dynamic_read_timeout = 0
vendordata_dynamic_failure_fatal = true
metadata_cache_expiration = 0
config_drive_skip_versions = 1.0 latest
newest_openstack_version = 2018-08-27
)");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->metadata_listen, "127.0.0.1");
  EXPECT_EQ(options->metadata_listen_port, 9775);
  EXPECT_FALSE(options->service_metadata_proxy);
  EXPECT_EQ(options->metadata_proxy_shared_secret, "novas");
  EXPECT_EQ(options->dhcp_domain, "");
  ASSERT_EQ(options->vendordata_dynamic_targets.size(), 2U);
  EXPECT_EQ(options->vendordata_dynamic_targets[0].url, "http://h/x@y");
  EXPECT_EQ(options->vendordata_dynamic_targets[1].name, "b");
  EXPECT_TRUE(options->dynamic_vendordata());
  EXPECT_TRUE(options->vendordata_dynamic_failure_fatal);
  EXPECT_EQ(options->config_drive_skip_versions, (std::vector<std::string>{"1.0", "latest"}));
  EXPECT_EQ(options->openstack_versions(), 8U);
}

TEST(ApiOptions, TakesTheAgentsSecretAndNamesWhatIsWrong) {
  EXPECT_EQ(from("[DEFAULT]\nmetadata_proxy_shared_secret = s\n")->metadata_proxy_shared_secret,
            "s");
  const auto port = from("[DEFAULT]\nmetadata_listen_port = many\n");
  ASSERT_FALSE(port);
  EXPECT_THAT(port.error().message, testing::HasSubstr("metadata_listen_port"));
  const auto version = from("[api]\nnewest_openstack_version = 2019-01-01\n");
  ASSERT_FALSE(version);
  EXPECT_THAT(version.error().message, testing::HasSubstr("newest_openstack_version"));
}

}  // namespace
}  // namespace metatap::api
