// SPDX-License-Identifier: Apache-2.0
#include "libvirt/domain.hpp"

#include <gmock/gmock.h>

namespace metatap::libvirt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string with(const std::string& metadata, const std::string& devices = "") {
  return R"(<domain type='qemu' id='3'><name>web1</name>
<uuid>5f4b1a6e-0001-4c5b-9d3e-000000000001</uuid><metadata>)" +
         metadata + "</metadata><devices>" + devices + "</devices></domain>";
}

constexpr auto kOurs = R"(<metatap:guest xmlns:metatap="urn:metatap:guest:1">
  <hostname> web-1 </hostname><project>blue</project>
  <ssh-key>ssh-ed25519 AAAA me</ssh-key><ssh-key>ssh-rsa BBBB me</ssh-key>
  <meta key="role">front &amp; back</meta>
  <user-data>
#cloud-config
packages: [nginx]
</user-data>
  <vendor-data encoding="base64">I2Nsb3Vk</vendor-data>
</metatap:guest><other:thing xmlns:other="urn:other">x</other:thing>)";

TEST(Domain, SaysWhatItsGuestIsToBeTold) {
  const auto domain = parse_domain(with(kOurs));
  ASSERT_TRUE(domain) << domain.error().message;
  EXPECT_EQ(domain->name, "web1");
  EXPECT_EQ(domain->uuid, "5f4b1a6e-0001-4c5b-9d3e-000000000001");
  ASSERT_TRUE(domain->data && *domain->data);
  const auto& data = **domain->data;
  EXPECT_EQ(data.hostname, "web-1");
  EXPECT_EQ(data.project_id, "blue");
  EXPECT_THAT(data.ssh_keys, ElementsAre("ssh-ed25519 AAAA me", "ssh-rsa BBBB me"));
  EXPECT_THAT(data.metadata, ElementsAre(std::pair("role", "front & back")));
  EXPECT_EQ(data.user_data, "#cloud-config\npackages: [nginx]\n");
  EXPECT_EQ(data.vendor_data, "#cloud");
}

TEST(Domain, NamesItsDevicesAndThoseThatItHasNot) {
  const auto domain = parse_domain(with("", R"(
    <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan' bridge='virbr1'/>
      <target dev='vnet3'/></interface>
    <interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/>
      <target dev='web1-eth1'/></interface>
    <interface type='ethernet'><mac address='52:54:00:00:00:03'/><target dev='tap7'/></interface>
    <interface type='direct'><mac address='52:54:00:00:00:04'/><target dev='macvtap0'/></interface>
    <interface type='user'><mac address='52:54:00:00:00:05'/></interface>
    <interface type='bridge'><mac address='52:54:00:00:00:06'/><source bridge='br0'/></interface>)"));
  ASSERT_TRUE(domain);
  ASSERT_EQ(domain->interfaces.size(), 3U);
  EXPECT_EQ(domain->interfaces[0].device, "vnet3");
  EXPECT_EQ(domain->interfaces[0].mac, "52:54:00:00:00:01");
  EXPECT_EQ(domain->interfaces[0].network, "lan");
  EXPECT_EQ(domain->interfaces[1].network, "br0");
  EXPECT_EQ(domain->interfaces[2].network, "default");
  EXPECT_THAT(domain->left_out, ElementsAre(HasSubstr("macvtap's frames"), HasSubstr("QEMU's own"),
                                            HasSubstr("it has no device")));
  EXPECT_TRUE(domain->data && !*domain->data) << "no metadata of ours";
}

TEST(Domain, WhoseMetadataMakesNoSenseIsADomainAllTheSame) {
  for (const auto& [metadata, said] :
       {std::pair("<hostnam>x</hostnam>", "there is no <hostnam>; did you mean <hostname>?"),
        std::pair("<meta>x</meta>", "<meta> needs a \"key\""),
        std::pair("<a/><meta>x</meta>", "<metadata>: there is no <a>; <meta> needs a \"key\""),
        std::pair("<user-data encoding='base64'>!</user-data>", "<user-data>: not base64"),
        std::pair("<user-data encoding='rot13'>!</user-data>", "<user-data>: not rot13")}) {
    const auto domain =
        parse_domain(with(R"(<g xmlns="urn:metatap:guest:1">)" + std::string(metadata) + "</g>"));
    ASSERT_TRUE(domain);
    ASSERT_FALSE(domain->data);
    EXPECT_THAT(domain->data.error().message, HasSubstr(said));
  }
}

TEST(Domain, SaysOpenStackAsCloudInitLooksForIt) {
  const auto says = [](const std::string& os, const std::string& product) {
    return parse_domain("<domain><name>a</name><uuid>b</uuid><os>" + os +
                        "</os><sysinfo type='smbios'><system><entry name='product'>" + product +
                        "</entry></system></sysinfo></domain>")
        ->says_openstack;
  };
  const std::string told = "<smbios mode='sysinfo'/>";
  EXPECT_TRUE(says(told, "OpenStack Nova"));
  EXPECT_TRUE(says(told, "OpenStack Compute"));
  EXPECT_FALSE(says(told, "openstack nova"));
  EXPECT_FALSE(says("<smbios mode='host'/>", "OpenStack Nova")) << "the guest is not told it";
  EXPECT_FALSE(says("", "OpenStack Nova"));
  EXPECT_TRUE(says("<cmdline>root=/dev/vda ci.ds=OpenStack</cmdline>", "x"));
  EXPECT_TRUE(says("<cmdline>ds=openstack</cmdline>", "x"));
  EXPECT_FALSE(parse_domain("<domain><name>a</name><uuid>b</uuid></domain>")->says_openstack);
}

TEST(Domain, NothingElseIsOne) {
  EXPECT_FALSE(parse_domain(""));
  EXPECT_FALSE(parse_domain("<domain>"));
  EXPECT_FALSE(parse_domain("<network><name>a</name><uuid>b</uuid></network>"));
  EXPECT_FALSE(parse_domain("<domain><name>a</name></domain>"));
  // Entities are not followed, into files or into each other.
  const auto hostile = parse_domain(R"(<!DOCTYPE domain [<!ENTITY e SYSTEM "file:///etc/passwd">]>
    <domain><name>a&e;</name><uuid>b</uuid></domain>)");
  EXPECT_TRUE(!hostile || hostile->name == "a");
}

}  // namespace
}  // namespace metatap::libvirt
