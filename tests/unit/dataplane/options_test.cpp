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
  EXPECT_EQ(options.quarantine, std::chrono::seconds(64));
  EXPECT_TRUE(options.routers);
  EXPECT_EQ(options.journal, "/run/metatap/dataplane/namespaces.journal");
  EXPECT_TRUE(options.may_steer("anything")) << "without patterns the inventory alone decides";
}

TEST(DataPlaneOptions, ReadsItsGroup) {
  const auto options = parse(
                           "[dataplane]\nnamespace = mt1\npin_path = /sys/fs/bpf/mt1\n"
                           "devices = tap*, vnet[0-9]\nattach = clsact\nwhen_down = refuse\n"
                           "syn_rate = 0\nrouters = no\n[DEFAULT]\nrun_path = /run/mt1\n")
                           .value();
  EXPECT_EQ(options.namespace_name, "mt1");
  EXPECT_EQ(options.attach, AttachMode::clsact);
  EXPECT_EQ(options.when_down, WhenDown::refuse);
  EXPECT_EQ(options.syn_rate, 0U);
  EXPECT_FALSE(options.routers);
  EXPECT_EQ(options.journal, "/run/mt1/dataplane/namespaces.journal");
  EXPECT_EQ(options.rcu.record, "/run/mt1/dataplane/rcu_expedited.before");
  EXPECT_TRUE(options.may_steer("tap12345678-9a"));
  EXPECT_TRUE(options.may_steer("vnet3"));
  EXPECT_FALSE(options.may_steer("vnet33"));
  EXPECT_FALSE(options.may_steer("eth0"));
}

TEST(DataPlaneOptions, SaysWhatIsWrong) {
  EXPECT_THAT(parse("[dataplane]\nattach = xdp\n").error().message, ::testing::HasSubstr("attach"));
  for (const auto* hops : {"64, 0", "256", "64, x", "-1"}) {
    EXPECT_THAT(parse(std::string("[dataplane]\nfirst_hops = ") + hops + "\n").error().message,
                ::testing::HasSubstr("first_hops"));
  }
  EXPECT_EQ(parse("[dataplane]\nfirst_hops = 32, 255\n")->first_hops,
            (std::vector<std::uint8_t>{32, 255}));
  EXPECT_THAT(parse("[dataplane]\nnamespace = a/b\n").error().message,
              ::testing::HasSubstr("namespace"));
  EXPECT_THAT(parse("[dataplane]\npin_path = here\n").error().message,
              ::testing::HasSubstr("absolute"));
}

TEST(DataPlaneOptions, AreAllDeclared) {
  const auto config = Config::parse("").value();
  ASSERT_TRUE(DataPlaneOptions::from(config));
  std::vector<std::string> names;
  for (const auto& option : config.options()) {
    names.push_back(option.name);
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(
                         "run_path", "namespace", "pin_path", "devices", "attach", "when_down",
                         "routers", "expedite_rcu", "syn_rate", "syn_burst", "drop_sample",
                         "quarantine", "slots", "forwarded_inside", "first_hops"));
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
