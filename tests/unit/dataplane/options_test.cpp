// SPDX-License-Identifier: Apache-2.0
#include "dataplane/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/metadata_namespace.hpp"

namespace metatap::dataplane {
namespace {

Result<DataPlaneOptions> parse(std::string_view text) {
  return DataPlaneOptions::from(Config::parse(text).value());
}

TEST(DataPlaneOptions, HasDefaults) {
  const auto options = parse("").value();
  EXPECT_EQ(options.namespace_name, "metatap");
  EXPECT_EQ(options.pin_path, "/sys/fs/bpf/metatap");
  EXPECT_EQ(options.attach, AttachMode::automatic);
  EXPECT_EQ(options.when_down, WhenDown::pass);
  EXPECT_TRUE(options.may_steer("anything")) << "without patterns the inventory alone decides";
}

TEST(DataPlaneOptions, ReadsItsGroup) {
  const auto options = parse(
                           "[dataplane]\nnamespace = mt1\npin_path = /sys/fs/bpf/mt1\n"
                           "devices = tap*, vnet[0-9]\nattach = clsact\nwhen_down = refuse\n"
                           "syn_rate = 0\n")
                           .value();
  EXPECT_EQ(options.namespace_name, "mt1");
  EXPECT_EQ(options.attach, AttachMode::clsact);
  EXPECT_EQ(options.when_down, WhenDown::refuse);
  EXPECT_EQ(options.syn_rate, 0U);
  EXPECT_TRUE(options.may_steer("tap12345678-9a"));
  EXPECT_TRUE(options.may_steer("vnet3"));
  EXPECT_FALSE(options.may_steer("vnet33"));
  EXPECT_FALSE(options.may_steer("eth0"));
}

TEST(DataPlaneOptions, SaysWhatIsWrong) {
  EXPECT_THAT(parse("[dataplane]\nattach = xdp\n").error().message, ::testing::HasSubstr("attach"));
  EXPECT_THAT(parse("[dataplane]\nnamespace = a/b\n").error().message,
              ::testing::HasSubstr("namespace"));
  EXPECT_THAT(parse("[dataplane]\npin_path = here\n").error().message,
              ::testing::HasSubstr("absolute"));
}

TEST(MetadataNamespace, HostDeviceNamesFitAndDiffer) {
  EXPECT_EQ(MetadataNamespace::host_device_of("metatap"), "mt-metatap");
  const auto a = MetadataNamespace::host_device_of("a-rather-long-namespace-1");
  const auto b = MetadataNamespace::host_device_of("a-rather-long-namespace-2");
  EXPECT_LE(a.size(), 15U);
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace metatap::dataplane
