// SPDX-License-Identifier: Apache-2.0
// What an instance's rows become: Nova's MetadataTestCase and OpenStackMetadataTestCase.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

using nlohmann::ordered_json;

std::unique_ptr<ApiStage> stage_with(const Instance& instance,
                                     const ApiOptions& options = sample_options()) {
  return stage_of(inventory_of({instance}), options);
}

std::vector<std::string> keys_of(const ordered_json& json) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) {
    keys.push_back(key);
  }
  return keys;
}

// --- the EC2 tree

TEST(Ec2, UserDataIsDecodedByteForByte) {
  Instance i = sample_instance();
  std::string binary = "\x1f\x8b\x08";
  for (int c = 0; c < 256; ++c) {
    binary += static_cast<char>(c);
  }
  i.user_data = base64_encoded(binary);
  const auto stage = stage_with(i);
  EXPECT_EQ(body_of(*stage, "/latest/user-data"), binary);
  EXPECT_EQ(body_of(*stage, "/openstack/latest/user_data"), binary);
  const Response response = Call::signed_for("/latest/user-data").answer(*stage);
  EXPECT_EQ(response.content_type, "text/plain; charset=UTF-8");
  EXPECT_TRUE(response.headers.empty());
  EXPECT_EQ(body_of(*stage, "/2009-04-04"), "meta-data/\nuser-data");
}

TEST(Ec2, NoUserDataNoSuchPath) {
  Instance i = sample_instance();
  i.user_data.reset();
  const auto stage = stage_with(i);
  EXPECT_EQ(body_of(*stage, "/2009-04-04"), "meta-data/");
  EXPECT_EQ(status_of(*stage, "/latest/user-data"), 404U);
  EXPECT_EQ(status_of(*stage, "/openstack/latest/user_data"), 404U);
  EXPECT_EQ(body_of(*stage, "/openstack/2012-08-10"), "meta_data.json");
  i.user_data = "";
  EXPECT_EQ(body_of(*stage_with(i), "/latest/user-data"), "");
  i.user_data = "not base64!";
  EXPECT_EQ(status_of(*stage_with(i), "/latest/user-data"), 404U);
}

TEST(Ec2, SecurityGroupsOnePerLine) {
  Instance i = sample_instance();
  i.security_groups = {"web", "default", "default"};
  const auto stage = stage_with(i);
  EXPECT_EQ(body_of(*stage, "/latest/meta-data/security-groups"), "web\ndefault\ndefault");
  EXPECT_EQ(status_of(*stage, "/latest/meta-data/security-groups/default"), 404U);
  i.security_groups.clear();
  EXPECT_EQ(body_of(*stage_with(i), "/latest/meta-data/security-groups"), "");
}

TEST(Ec2, HostnameWithAndWithoutDomain) {
  ApiOptions options = sample_options();
  const auto with = stage_with(sample_instance(), options);
  options.dhcp_domain = "";
  const auto without = stage_with(sample_instance(), options);
  for (const auto* key : {"hostname", "local-hostname", "public-hostname"}) {
    EXPECT_EQ(body_of(*with, std::string("/latest/meta-data/") + key), "web-1.novalocal");
    EXPECT_EQ(body_of(*without, std::string("/latest/meta-data/") + key), "web-1");
  }
  const auto json = ordered_json::parse(body_of(*without, "/openstack/latest/meta_data.json"));
  EXPECT_EQ(json["hostname"], "web-1");
}

TEST(Ec2, KeysComeWithTheirVersions) {
  Instance i = sample_instance();
  i.kernel_id = "kernel";
  i.ramdisk_id = "ramdisk";
  i.ec2_ids.kernel_id = "aki-00000002";
  i.ec2_ids.ramdisk_id = "ari-00000003";
  const auto stage = stage_with(i);
  const auto has = [&](const std::string& version, const std::string& key) {
    return status_of(*stage, "/" + version + "/meta-data/" + key) == 200;
  };
  EXPECT_TRUE(has("1.0", "ami-id"));
  EXPECT_FALSE(has("1.0", "local-hostname"));
  EXPECT_TRUE(has("2007-01-19", "public-ipv4"));
  EXPECT_FALSE(has("2007-03-01", "instance-type"));
  EXPECT_TRUE(has("2007-08-29", "instance-type"));
  EXPECT_FALSE(has("2007-10-10", "block-device-mapping"));
  EXPECT_TRUE(has("2007-12-15", "block-device-mapping/ami"));
  EXPECT_FALSE(has("2007-10-10", "kernel-id"));
  EXPECT_FALSE(has("2007-12-15", "placement"));
  EXPECT_TRUE(has("2008-02-01", "placement/availability-zone"));
  EXPECT_FALSE(has("2008-02-01", "instance-action"));
  EXPECT_TRUE(has("latest", "instance-action"));
  EXPECT_EQ(body_of(*stage, "/ec2/latest/meta-data/kernel-id"), "aki-00000002");
  EXPECT_EQ(body_of(*stage, "/latest/meta-data/ramdisk-id"), "ari-00000003");
}

TEST(Ec2, NoKernelNoSuchKey) {
  const auto stage = stage_with(sample_instance());
  EXPECT_EQ(status_of(*stage, "/latest/meta-data/kernel-id"), 404U);
  EXPECT_EQ(status_of(*stage, "/latest/meta-data/ramdisk-id"), 404U);
}

TEST(Ec2, NullsAreTheWordNone) {
  Instance i = sample_instance();
  i.image_ref.reset();  // booted from a volume
  i.availability_zone.reset();
  i.reservation_id.reset();
  i.key_data.reset();
  i.launch_index.reset();
  i.flavor_name.reset();
  const auto stage = stage_with(i);
  for (const auto* key : {"ami-id", "placement/availability-zone", "reservation-id",
                          "public-keys/0/openssh-key", "ami-launch-index", "instance-type"}) {
    EXPECT_EQ(body_of(*stage, std::string("/latest/meta-data/") + key), "None") << key;
  }
  EXPECT_THAT(body_of(*stage, "/latest/meta-data"), testing::HasSubstr("ami-id\n"));
  const auto json = ordered_json::parse(body_of(*stage, "/openstack/latest/meta_data.json"));
  EXPECT_TRUE(json["availability_zone"].is_null());
  EXPECT_TRUE(json["launch_index"].is_null());
}

TEST(Ec2, PublicKeysArePrintedByName) {
  Instance i = sample_instance();
  i.key_name = "my key=a/b";
  const auto stage = stage_with(i);
  const std::string base = "/latest/meta-data/public-keys";
  EXPECT_EQ(body_of(*stage, base), "0=my key=a/b");
  EXPECT_EQ(body_of(*stage, base + "/"), "0=my key=a/b");
  EXPECT_EQ(body_of(*stage, base + "/0"), "openssh-key");
  EXPECT_EQ(body_of(*stage, base + "/0/openssh-key"), "ssh-ed25519 AAAA alice\n");
  EXPECT_EQ(body_of(*stage, base + "/0/_name"), "0=my key=a/b");
  EXPECT_EQ(status_of(*stage, base + "/0=my key=a/b"), 404U);
  EXPECT_EQ(status_of(*stage, base + "/1"), 404U);
  i.key_name.reset();
  EXPECT_EQ(status_of(*stage_with(i), base), 404U);
}

TEST(Ec2, NothingBelowALeaf) {
  const auto stage = stage_with(sample_instance());
  for (const auto* path :
       {"/latest/meta-data/hostname/x", "/latest/user-data/x", "/latest/meta-data/hostname/x/y",
        "/latest/meta-data/ami-launch-index/x", "/latest/meta-data/_name", "/latest/dynamic",
        "/latest/api/token", "/latest/meta-data/iam", "/2011-01-01",
        "/2009-04-04/user-data-invalid", "/LATEST", "/ec2/ec2", "/ec2/ec2/latest", "/OpenStack"}) {
    EXPECT_EQ(status_of(*stage, path), 404U) << path;
  }
}

TEST(Ec2, WalkOfEverythingListedIsFound) {
  Instance i = sample_instance();
  i.block_device_mappings.push_back({"volume", "volume", {}, "/dev/vdb", {}, {}, {}, {}});
  const auto stage = stage_with(i);
  int leaves = 0;
  const std::function<void(const std::string&)> walk = [&](const std::string& directory) {
    std::istringstream lines(body_of(*stage, directory));
    for (std::string line; std::getline(lines, line);) {
      const std::string name = line.substr(0, line.find('='));
      if (line.ends_with('/')) {
        walk(directory + line);
      } else if (line.find('=') != std::string::npos) {
        walk(directory + name + "/");
      } else {
        ++leaves;
        EXPECT_EQ(status_of(*stage, directory + name), 200U) << directory << name;
      }
    }
  };
  walk("/2009-04-04/meta-data/");
  EXPECT_EQ(leaves, 18);
}

TEST(Ec2, LocalAddressFallsBackToTheCaller) {
  const auto stage = stage_with(sample_instance());
  const std::string path = "/latest/meta-data/local-ipv4";
  Call call = Call::signed_for(path);
  call.without("X-Forwarded-For").with("X-Forwarded-For", "192.0.2.7, 10.0.0.1");
  EXPECT_EQ(call.answer(*stage).body.str(), "192.0.2.7, 10.0.0.1");
  call.without("X-Forwarded-For");
  EXPECT_EQ(call.answer(*stage).body.str(), "None");

  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  add_port(inventory, sample_port("a0000000-port", kUuid, "10.0.0.7"));
  const auto addressed = stage_of(std::move(inventory));
  EXPECT_EQ(body_of(*addressed, path), "10.0.0.7");
  EXPECT_EQ(body_of(*addressed, "/latest/meta-data/public-ipv4"), "");
}

// --- block-device-mapping

Json mapping_of(const Instance& instance) {
  const auto metadata = describe(instance, InventoryIndex(), sample_options());
  return *metadata.ec2.find("block-device-mapping");
}

TEST(BlockDeviceMapping, DefaultsWithoutARootDevice) {
  Instance i = sample_instance();
  i.root_device_name.reset();
  i.block_device_mappings = {{"volume", "volume", {}, "/dev/vdb", {}, {}, {}, {}}};
  EXPECT_EQ(mapping_of(i).dump(),
            R"({"ami": "sda1", "ephemeral0": "sda2", "root": "/dev/sda1", "swap": "sda3"})");
  i.root_device_name = "";  // is not unset
  EXPECT_EQ(mapping_of(i).dump(), R"({"ami": "", "root": "", "ebs0": "/dev/vdb"})");
}

TEST(BlockDeviceMapping, VolumesSwapAndEphemerals) {
  Instance i = sample_instance();
  i.default_ephemeral_device = "/dev/vdy";
  i.default_swap_device = "/dev/vdx";
  const auto blank = [](std::optional<std::string> format, const char* device) {
    BlockDeviceMapping bdm;
    bdm.source_type = "blank";
    bdm.destination_type = "local";
    bdm.guest_format = std::move(format);
    bdm.device_name = device;
    return bdm;
  };
  BlockDeviceMapping nameless;
  nameless.source_type = "volume";
  nameless.destination_type = "volume";
  i.block_device_mappings = {blank("swap", "/dev/vdp"),
                             blank(std::nullopt, "/dev/vdb"),
                             {"image", "volume", {}, "/dev/vda", {}, {}, 0, {}},
                             nameless,
                             blank("ext4", "/dev/vdc"),
                             blank("swap", "/dev/vdq"),
                             {"blank", "volume", {}, "/dev/vdz", {}, {}, {}, {}}};
  EXPECT_EQ(mapping_of(i).dump(),
            R"({"ami": "vda", "root": "/dev/vda", "ephemeral0": "/dev/vdb", "swap": "/dev/vdq", )"
            R"("ebs0": null, "ebs1": "/dev/vda", "ebs2": "/dev/vdz", "ephemeral1": "/dev/vdc"})");
  EXPECT_EQ(body_of(*stage_with(i), "/latest/meta-data/block-device-mapping/ebs0"), "None");
  i.root_device_name = "sda";
  EXPECT_EQ(mapping_of(i).find("ami")->text(), "sda");
}

TEST(BlockDeviceMapping, ListingIsSortedByCodePoint) {
  Instance i = sample_instance();
  for (int n = 0; n < 11; ++n) {
    BlockDeviceMapping bdm;
    bdm.source_type = bdm.destination_type = "volume";
    bdm.device_name = "/dev/sd" + std::string(1, static_cast<char>('b' + n));
    i.block_device_mappings.push_back(bdm);
  }
  EXPECT_EQ(body_of(*stage_with(i), "/latest/meta-data/block-device-mapping/"),
            "ami\nebs0\nebs1\nebs10\nebs2\nebs3\nebs4\nebs5\nebs6\nebs7\nebs8\nebs9\nroot");
}

// --- the OpenStack tree

TEST(Openstack, ListingsOfEveryVersion) {
  const auto stage = stage_with(sample_instance());
  const std::string versions =
      "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n"
      "2018-08-27\n2020-10-14\n2025-04-04\nlatest";
  EXPECT_EQ(body_of(*stage, "/openstack"), versions);
  EXPECT_EQ(body_of(*stage, "/openstack/"), versions);
  std::string files = "meta_data.json\nuser_data";
  EXPECT_EQ(body_of(*stage, "/openstack/2012-08-10"), files);
  EXPECT_EQ(body_of(*stage, "/openstack/2013-04-04"), files += "\npassword");
  EXPECT_EQ(body_of(*stage, "/openstack/2013-10-17"), files += "\nvendor_data.json");
  EXPECT_EQ(body_of(*stage, "/openstack/2015-10-15/"), files += "\nnetwork_data.json");
  EXPECT_EQ(body_of(*stage, "/openstack/2016-06-30"), files);
  EXPECT_EQ(body_of(*stage, "/openstack/2016-10-06"), files += "\nvendor_data2.json");
  EXPECT_EQ(body_of(*stage, "/openstack/latest"), files);
  EXPECT_EQ(body_of(*stage, "/openstack/latest/version"), files);
  for (const auto* path :
       {"/openstack/content", "/openstack/content/0000", "/openstack/latest/content",
        "/openstack/latest/content/0000", "/openstack/9999-99-99", "/openstack/2012-08-10/password",
        "/openstack/2013-04-04/vendor_data.json", "/openstack/2016-06-30/vendor_data2.json",
        "/openstack/latest/meta_data.json/x", "/openstack/latest/version/x", "/openstack/ec2"}) {
    EXPECT_EQ(status_of(*stage, path), 404U) << path;
  }
  EXPECT_EQ(status_of(*stage, "/openstack/2012-08-10/network_data.json"), 200U);
}

TEST(Openstack, AnOlderNovaIsMatchedExactly) {
  ApiOptions options = sample_options();
  options.newest_openstack_version = "2013-10-17";
  const auto stage = stage_with(sample_instance(), options);
  EXPECT_EQ(body_of(*stage, "/openstack"), "2012-08-10\n2013-04-04\n2013-10-17\nlatest");
  EXPECT_EQ(status_of(*stage, "/openstack/2015-10-15"), 404U);
  EXPECT_EQ(body_of(*stage, "/openstack/latest"), body_of(*stage, "/openstack/2013-10-17"));
  EXPECT_EQ(status_of(*stage, "/openstack/latest/vendor_data2.json"), 404U);
}

TEST(Openstack, VersionsOfTheFutureAreHiddenButServed) {
  ApiOptions options = sample_options();
  options.today = [] { return std::chrono::sys_days(std::chrono::year(2020) / 10 / 13); };
  const auto stage = stage_with(sample_instance(), options);
  EXPECT_EQ(body_of(*stage, "/openstack"),
            "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n"
            "2018-08-27\nlatest");
  EXPECT_EQ(status_of(*stage, "/openstack/2020-10-14/meta_data.json"), 200U);
}

TEST(Openstack, EachVersionHasExactlyItsKeys) {
  Instance i = sample_instance();
  i.metadata = {{"b", "2"}, {"a", "1"}};
  const auto stage = stage_with(i);
  std::vector<std::string> keys{"uuid",     "meta", "public_keys",  "keys",
                                "hostname", "name", "launch_index", "availability_zone"};
  const auto keys_in = [&](const std::string& version) {
    return keys_of(
        ordered_json::parse(body_of(*stage, "/openstack/" + version + "/meta_data.json")));
  };
  EXPECT_EQ(keys_in("2012-08-10"), keys);
  keys.emplace_back("random_seed");
  EXPECT_EQ(keys_in("2013-04-04"), keys);
  EXPECT_EQ(keys_in("2013-10-17"), keys);
  keys.emplace_back("project_id");
  EXPECT_EQ(keys_in("2015-10-15"), keys);
  keys.emplace_back("devices");
  EXPECT_EQ(keys_in("2016-06-30"), keys);
  EXPECT_EQ(keys_in("2018-08-27"), keys);
  keys.emplace_back("dedicated_cpus");
  EXPECT_EQ(keys_in("2020-10-14"), keys);
  EXPECT_EQ(keys_in("2025-04-04"), keys);
  EXPECT_EQ(keys_in("latest"), keys);
  for (const std::string& key : keys) {
    EXPECT_EQ(key.find('-'), std::string::npos);
  }
  const auto json = ordered_json::parse(body_of(*stage, "/openstack/latest/meta_data.json"));
  EXPECT_EQ(keys_of(json["meta"]), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(json["keys"].dump(),
            R"([{"name":"alice","type":"ssh","data":"ssh-ed25519 AAAA alice\n"}])");
}

TEST(Openstack, ADeletedKeypairHidesOnlyTheOpenstackKeys) {
  Instance i = sample_instance();
  i.keypairs.clear();
  const auto stage = stage_with(i);
  const auto json = ordered_json::parse(body_of(*stage, "/openstack/latest/meta_data.json"));
  EXPECT_FALSE(json.contains("keys"));
  EXPECT_FALSE(json.contains("public_keys"));
  EXPECT_EQ(status_of(*stage, "/latest/meta-data/public-keys/0/openssh-key"), 200U);
  i = sample_instance();
  i.keypairs.front().type = "x509";
  const auto x509 =
      ordered_json::parse(body_of(*stage_with(i), "/openstack/latest/meta_data.json"));
  EXPECT_EQ(x509["keys"][0]["type"], "x509");
}

TEST(Openstack, RandomSeedIsNewEveryTime) {
  const auto stage = stage_with(sample_instance());
  std::set<std::string> seeds;
  for (int n = 0; n < 100; ++n) {
    const auto json = ordered_json::parse(body_of(*stage, "/openstack/latest/meta_data.json"));
    const auto seed = json["random_seed"].get<std::string>();
    EXPECT_EQ(seed.size(), 684U);
    const auto bytes = base64_decoded(seed);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->size(), 512U);
    EXPECT_EQ(base64_encoded(*bytes), seed);
    seeds.insert(seed);
  }
  EXPECT_EQ(seeds.size(), 100U);
  EXPECT_EQ(stage->stats().seeds, 100U);
}

TEST(Openstack, DedicatedCpusAreTheSortedUnion) {
  Instance i = sample_instance();
  i.numa_topology = {{0, {0, 1}, {12, 2}}, {1, {}, {3, 2}}};
  const auto json =
      ordered_json::parse(body_of(*stage_with(i), "/openstack/latest/meta_data.json"));
  EXPECT_EQ(json["dedicated_cpus"].dump(), "[2,3,12]");
}

TEST(Openstack, DevicesByVersion) {
  Instance i = sample_instance();
  DeviceMetadata tagged;
  tagged.kind = "nic";
  tagged.bus_type = "pci";
  tagged.bus_address = "0000:00:03.0";
  tagged.mac = "fa:16:3e:00:00:01";
  tagged.tags = {"mgmt"};
  tagged.has_tags = true;
  DeviceMetadata vlan = tagged;
  vlan.tags.clear();
  vlan.has_tags = false;
  vlan.vlan = 42;
  vlan.vf_trusted = true;
  DeviceMetadata bare = vlan;
  bare.vlan.reset();
  bare.vf_trusted.reset();
  bare.bus_type.reset();
  bare.bus_address.reset();
  DeviceMetadata odd_bus = tagged;
  odd_bus.bus_type = "plain";
  DeviceMetadata odd_kind = tagged;
  odd_kind.kind = "gpu";
  DeviceMetadata share;
  share.kind = "share";
  share.share_id = "s1";
  share.tag = "data";
  i.device_metadata = {tagged, vlan, bare, odd_bus, odd_kind, share};
  const auto stage = stage_with(i);
  const auto devices = [&](const std::string& version) {
    return ordered_json::parse(
               body_of(*stage, "/openstack/" + version + "/meta_data.json"))["devices"]
        .dump();
  };
  const std::string mac = R"("type":"nic","mac":"fa:16:3e:00:00:01",)";
  const std::string pci = R"("bus":"pci","address":"0000:00:03.0")";
  EXPECT_EQ(devices("2016-06-30"), "[{" + mac + pci + R"(,"tags":["mgmt"]}])");
  EXPECT_EQ(devices("2017-02-22"),
            "[{" + mac + pci + R"(,"tags":["mgmt"]},{"vlan":42,)" + mac + pci + "}]");
  const std::string rocky = "[{\"vf_trusted\":false," + mac + pci +
                            R"(,"tags":["mgmt"]},{"vlan":42,"vf_trusted":true,)" + mac + pci +
                            "},{\"vf_trusted\":false," + mac + R"("bus":"none","address":"none"})";
  EXPECT_EQ(devices("2018-08-27"), rocky + "]");
  EXPECT_EQ(
      devices("2025-04-04"),
      rocky + R"(,{"type":"share","share_id":"s1","tag":"data","bus":"none","address":"none"}])");
  EXPECT_EQ(devices("latest"), devices("2025-04-04"));
}

TEST(Openstack, TypesAreNovas) {
  const auto stage = stage_with(sample_instance());
  const auto type = [&](const std::string& path) {
    return Call::signed_for(path).answer(*stage).content_type;
  };
  EXPECT_EQ(type("/openstack/latest/meta_data.json"), "application/json");
  EXPECT_EQ(type("/openstack/latest/vendor_data.json"), "application/json");
  EXPECT_EQ(type("/openstack/latest/vendor_data2.json"), "application/json");
  EXPECT_EQ(type("/openstack/latest/network_data.json"), "text/plain; charset=UTF-8");
  EXPECT_EQ(type("/openstack/latest/user_data"), "text/plain; charset=UTF-8");
  EXPECT_EQ(type("/openstack/latest/password"), "text/html; charset=UTF-8");
  EXPECT_EQ(type("/openstack/latest"), "text/plain; charset=UTF-8");
}

TEST(Openstack, AwkwardTextSurvives) {
  Instance i = sample_instance();
  i.display_name = "gr\xc3\xbc\xc3\x9f\" \\ \xf0\x9f\x98\x80\x7f\n";
  i.metadata = {{"k\"ey", ""}};
  const std::string body = body_of(*stage_with(i), "/openstack/2012-08-10/meta_data.json");
  EXPECT_THAT(body, testing::HasSubstr(R"("name": "gr\u00fc\u00df\" \\ \ud83d\ude00\u007f\n")"));
  EXPECT_THAT(body, testing::HasSubstr(R"("meta": {"k\"ey": ""})"));
}

}  // namespace
}  // namespace metatap::api
