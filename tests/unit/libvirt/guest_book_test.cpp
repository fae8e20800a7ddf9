// SPDX-License-Identifier: Apache-2.0
// Domains and directories, and the document that becomes of them.
#include "libvirt/guest_book.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/text.hpp"
#include "inventory/document.hpp"
#include "libvirt/guest_directory.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::libvirt {
namespace {

using testing::HasSubstr;

class GuestBookTest : public testing::Test {
 protected:
  static std::string domain(const std::string& name, const std::string& uuid, int number,
                            const std::string& metadata = "") {
    const auto digit = std::to_string(number);
    return "<domain><name>" + name + "</name><uuid>" + uuid +
           "</uuid><metadata><g xmlns='urn:metatap:guest:1'>" + metadata +
           "</g></metadata><devices><interface type='bridge'><mac address='52:54:00:00:00:0" +
           digit + "'/><source bridge='br0'/><target dev='vnet" + digit +
           "'/></interface></devices></domain>";
  }
  /// Without any metadata of ours.
  static std::string plain(const std::string& name, const std::string& uuid, int number) {
    auto xml = domain(name, uuid, number);
    const std::string ours = "<g xmlns='urn:metatap:guest:1'></g>";
    return xml.replace(xml.find(ours), ours.size(), "");
  }
  void write(const std::string& guest, const std::string& file, const std::string& text) {
    std::filesystem::create_directories(directory_.path() / guest);
    std::ofstream(directory_.path() / guest / file) << text;
  }
  Inventory inventory() {
    const auto read = parse_document(book_.document());
    EXPECT_TRUE(read) << read.error().message;
    return read.value_or(Inventory{});
  }
  std::string problem(const std::string& domain) {
    const auto& problems = book_.status().problems;
    const auto found = problems.find(domain);
    return found == problems.end() ? "" : found->second;
  }

  TemporaryDirectory directory_;
  GuestBook book_{directory_.path()};
};

TEST_F(GuestBookTest, ADomainBecomesAnInstanceWithItsPorts) {
  book_.put("u-1", domain("web1", "u-1", 1, "<hostname>web</hostname>"));
  const auto there = inventory();
  ASSERT_TRUE(there.instances.contains("u-1"));
  EXPECT_EQ(there.instances.at("u-1")->hostname, "web");
  const auto& port = *there.ports.begin()->second;
  EXPECT_EQ(port.device, "vnet1");
  EXPECT_EQ(port.mac_address, "52:54:00:00:00:01");
  EXPECT_EQ(port.mac_policy, MacPolicy::own);
  EXPECT_EQ(port.address_policy, AddressPolicy::learn);
  EXPECT_EQ(book_.status().interfaces, 1U);
  book_.remove("u-1");
  EXPECT_TRUE(inventory().instances.empty());
}

TEST_F(GuestBookTest, MetadataComesBeforeADirectoryAndThatBeforeTheDefault) {
  write("default", "user-data", "#!default\n");
  write("web2", "user-data", "#!its own\n");
  write("web2", "meta-data",
        "instance-id: i-x\nlocal-hostname: two\n# a remark\npublic-keys:\n- ssh-rsa A\n- \"ssh-rsa "
        "B\"\nrole: db\n");
  book_.put("u-1", domain("web1", "u-1", 1, "<user-data>#!metadata</user-data>"));
  book_.put("u-2", plain("web2", "u-2", 2));
  book_.put("u-3", plain("web3", "u-3", 3));
  const auto there = inventory();
  const auto user_data = [&](const char* uuid) {
    return base64_decoded(there.instances.at(uuid)->user_data.value_or("")).value_or("");
  };
  EXPECT_EQ(user_data("u-1"), "#!metadata");
  EXPECT_EQ(user_data("u-2"), "#!its own\n");
  EXPECT_EQ(user_data("u-3"), "#!default\n");
  const auto& two = *there.instances.at("u-2");
  EXPECT_EQ(two.hostname, "two");
  EXPECT_EQ(two.keypairs.size(), 2U);
  EXPECT_EQ(two.metadata.at(0), std::pair(std::string("role"), std::string("db")));
  EXPECT_EQ(there.instances.at("u-3")->hostname, "web3");
  write("web3", "user-data", "#!fresh\n");
  book_.read_directories();
  EXPECT_THAT(inventory().instances.at("u-3")->user_data.value(), base64_encoded("#!fresh\n"));
}

TEST_F(GuestBookTest, WhatMakesNoSenseIsNamedAndTheRestGoesOn) {
  book_.put("u-1", domain("web1", "u-1", 1, "<hostname>good</hostname>"));
  book_.put("u-2", domain("web2", "u-2", 2));
  // What web1 was told before it is told on.
  book_.put("u-1", domain("web1", "u-1", 1, "<hostname>not a name</hostname>"));
  book_.put("u-3", "<domain>");
  auto there = inventory();
  EXPECT_EQ(there.instances.at("u-1")->hostname, "good");
  EXPECT_TRUE(there.instances.contains("u-2"));
  EXPECT_THAT(problem("web1"), HasSubstr("\"not a name\" is not a host name"));
  EXPECT_THAT(problem("u-3"), HasSubstr("not the XML of a domain"));
  book_.put("u-1", domain("web1", "u-1", 1, "<hostname>better</hostname>"));
  there = inventory();
  EXPECT_EQ(there.instances.at("u-1")->hostname, "better");
  EXPECT_EQ(problem("web1"), "");
  write("web4", "network-config", "version: 2\n");
  book_.put("u-4", plain("web4", "u-4", 4));
  EXPECT_TRUE(inventory().instances.contains("u-4"));
  EXPECT_THAT(problem("web4"), HasSubstr("network-config: the metadata service has no place"));
}

TEST_F(GuestBookTest, ADeviceIsOfOneDomainAlone) {
  book_.put("u-1", domain("web1", "u-1", 1));
  book_.put("u-2", domain("web2", "u-2", 1));
  const auto there = inventory();
  EXPECT_EQ(there.ports.size(), 1U);
  EXPECT_TRUE(there.instances.contains("u-1"));
  EXPECT_THAT(problem("web2"), HasSubstr("device vnet1 is web1's already"));
  book_.keep_only({"u-2"});
  EXPECT_TRUE(inventory().instances.contains("u-2"));
  EXPECT_EQ(problem("web2"), "");
}

TEST_F(GuestBookTest, MetaDataThatIsNotUnderstoodNamesItsLine) {
  write("a", "meta-data", "local-hostname: x\n\tbad\n");
  const auto read = read_guest_directory(directory_.path() / "a");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("meta-data: line 2: expected NAME: VALUE"));
  EXPECT_EQ(*read_guest_directory(directory_.path() / "none"), std::nullopt);
}

}  // namespace
}  // namespace metatap::libvirt
