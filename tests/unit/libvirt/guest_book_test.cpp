// SPDX-License-Identifier: Apache-2.0
// Domains and directories, and the document that becomes of them.
#include "libvirt/guest_book.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/text.hpp"
#include "inventory/document.hpp"
#include "libvirt/guest_directory.hpp"
#include "unit/inventory/differences.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::libvirt {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

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
  EXPECT_FALSE(inventory().instances.contains("u-4")) << "half of it is not what it is to be told";
  EXPECT_THAT(problem("web4"), HasSubstr("network-config: the metadata service has no place"));
  EXPECT_THAT(problem("web4"), HasSubstr("not served until"));
  std::filesystem::remove(directory_.path() / "web4/network-config");
  book_.read_directories();
  EXPECT_FALSE(inventory().instances.contains("u-4"));
  EXPECT_THAT(problem("web4"), HasSubstr("neither meta-data nor user-data nor vendor-data"));
  write("web4", "user-data", "#!x\n");
  book_.read_directories();
  EXPECT_TRUE(inventory().instances.contains("u-4"));
  EXPECT_EQ(problem("web4"), "");
}

TEST_F(GuestBookTest, AllThatIsWrongIsSaidByTheKeysOfTheGuest) {
  book_.put("u-1", domain("web1", "u-1", 1, "<hostname>a b</hostname><ssh-key></ssh-key>"));
  static_cast<void>(inventory());
  EXPECT_THAT(problem("web1"), StartsWith("hostname: \"a b\" is not a host name"));
  EXPECT_THAT(problem("web1"), HasSubstr("; ssh_keys/0"));
  EXPECT_THAT(problem("web1"), Not(HasSubstr("/guests/0")));
}

TEST_F(GuestBookTest, AnInterfaceThatMakesNoSenseIsLeftOutAlone) {
  const auto of = [](const std::string& interfaces) {
    return "<domain><name>web1</name><uuid>u-1</uuid><devices>" + interfaces +
           "</devices></domain>";
  };
  const auto with = [](const std::string& mac, const std::string& device,
                       const std::string& bridge) {
    return "<interface type='bridge'><mac address='" + mac + "'/><source bridge='" + bridge +
           "'/><target dev='" + device + "'/></interface>";
  };
  const auto good = with("52:54:00:00:00:01", "vnet1", "br0");
  for (const auto& [bad, said] :
       {std::pair(with("no", "vnet2", "br0"), "interface no: "),
        std::pair(with("52:54:00:00:00:01", "vnet2", "br0"), "it has two of these"),
        std::pair(with("52:54:00:00:00:01", "vnet2", "br1"), "it has two of these"),
        std::pair(with("52:54:00:00:00:02", "vnet1", "br1"), "it has two of these")}) {
    book_.put("u-1", of(good + bad));
    const auto there = inventory();
    ASSERT_EQ(there.ports.size(), 1U) << bad;
    EXPECT_EQ(there.ports.begin()->second->device, "vnet1");
    EXPECT_THAT(problem("web1"), HasSubstr(said));
  }
}

TEST_F(GuestBookTest, AMacIsTheSameInEverySpelling) {
  auto capitals = domain("web2", "u-2", 2);
  const std::string its_own = "52:54:00:00:00:02";
  capitals.replace(capitals.find(its_own), its_own.size(), "52:54:00:00:00:AB");
  book_.put("u-2", capitals);
  static_cast<void>(inventory());
  auto small = domain("web3", "u-3", 3);
  small.replace(small.find("52:54:00:00:00:03"), its_own.size(), "52:54:00:00:00:ab");
  book_.put("u-3", small);
  EXPECT_TRUE(inventory().instances.contains("u-2"));
  EXPECT_THAT(problem("web3"), HasSubstr("52:54:00:00:00:ab of network br0 is web2's already"));
}

/// Whoever has a device or a MAC keeps it, whatever the order of uuids.
TEST_F(GuestBookTest, WhoComesLaterTakesNothingAway) {
  book_.put("u-5", domain("web5", "u-5", 1));
  static_cast<void>(inventory());
  book_.put("u-1", domain("web1", "u-1", 1));
  EXPECT_TRUE(inventory().instances.contains("u-5"));
  EXPECT_THAT(problem("web1"), HasSubstr("device vnet1 is web5's already"));
  // Nor after a restart, whoever is listed first then.
  GuestBook next(directory_.path(), inventory());
  next.put("u-1", domain("web1", "u-1", 1));
  next.put("u-5", domain("web5", "u-5", 1));
  EXPECT_TRUE(parse_document(next.document())->instances.contains("u-5"));
  EXPECT_TRUE(next.status().problems.contains("web1"));
  next.remove("u-5");
  EXPECT_TRUE(parse_document(next.document())->instances.contains("u-1"));
}

TEST_F(GuestBookTest, WhatWasServedIsServedOnAfterARestart) {
  write("web2", "meta-data", "local-hostname: two\npublic-keys: ssh-rsa A\nrole: db\n");
  write("web2", "user-data", "#!x\n");
  write("web2", "vendor-data", "#!y\n");
  book_.put("u-2", plain("web2", "u-2", 2));
  const auto before = inventory();
  write("web2", "meta-data", "nonsense\n");
  GuestBook next(directory_.path(), before);
  next.put("u-2", plain("web2", "u-2", 2));
  const auto after = parse_document(next.document());
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(differences(before, *after), "nothing to change\n");
  EXPECT_THAT(next.status().problems.at("web2"), HasSubstr("told on what it was told before"));
}

TEST_F(GuestBookTest, ANameIsNoWayOutOfTheGuestsFolder) {
  write("a", "user-data", "#!a\n");
  for (const auto* name : {"..", ".", "a/../a", "../x"}) {
    book_.put("u-1", plain(name, "u-1", 1));
    const auto there = inventory();
    ASSERT_TRUE(there.instances.contains("u-1")) << name;
    EXPECT_EQ(there.instances.at("u-1")->user_data, std::nullopt) << name;
    for (const auto& watched : book_.directories()) {
      EXPECT_EQ(watched.string().find("/.."), std::string::npos);
    }
  }
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
  write("a", "meta-data", "local-hostname: x\n\tbad\nrole: db\nlist: [a]\n");
  const auto read = read_guest_directory(directory_.path() / "a");
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message,
              HasSubstr("meta-data: line 2: expected NAME: VALUE; line 4: list: expected a value"));
  EXPECT_EQ(*read_guest_directory(directory_.path() / "none"), std::nullopt);
}

}  // namespace
}  // namespace metatap::libvirt
