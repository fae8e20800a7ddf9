// SPDX-License-Identifier: Apache-2.0
#include "agent/options.hpp"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <unistd.h>

#include "agent/signer.hpp"

namespace metatap::agent {
namespace {

using testing::HasSubstr;

AgentOptions read(std::string_view text) {
  return AgentOptions::from(Config::parse(text, "metadata_agent.ini").value()).value();
}

TEST(Options, DefaultsAreNeutronsButForTheStatePath) {
  const auto options = read("");
  EXPECT_EQ(options.nova_metadata_host, "127.0.0.1");
  EXPECT_EQ(options.nova_metadata_port, 8775);
  EXPECT_FALSE(options.nova_metadata_tls);
  EXPECT_FALSE(options.nova_metadata_insecure);
  EXPECT_EQ(options.metadata_proxy_socket, "/var/lib/metatap/metadata_proxy");
  EXPECT_EQ(options.metadata_backlog, 4096);
  EXPECT_EQ(options.directory, DirectorySource::inventory);
}

TEST(Options, ReadsAMetadataAgentIni) {
  const auto options = read(
      "[DEFAULT]\nstate_path = /var/lib/neutron\nnova_metadata_ip = 192.0.2.7\n"
      "nova_metadata_port = 443\nnova_metadata_protocol = https\nnova_metadata_insecure = True\n"
      "auth_ca_cert = /ca\nnova_client_cert = /c\nnova_client_priv_key = /k\n"
      "metadata_proxy_shared_secret = s3cret\nmetadata_proxy_socket_mode = all\n"
      "metadata_workers = 0\nmetadata_backlog = 17\n[agent]\ndirectory = ovn\n");
  EXPECT_EQ(options.nova_metadata_host, "192.0.2.7");
  EXPECT_EQ(options.nova_metadata_port, 443);
  EXPECT_TRUE(options.nova_metadata_tls);
  EXPECT_TRUE(options.nova_metadata_insecure);
  EXPECT_EQ(options.auth_ca_cert, "/ca");
  EXPECT_EQ(options.nova_client_cert, "/c");
  EXPECT_EQ(options.nova_client_priv_key, "/k");
  EXPECT_EQ(options.metadata_proxy_shared_secret, "s3cret");
  EXPECT_EQ(options.metadata_proxy_socket, "/var/lib/neutron/metadata_proxy");
  EXPECT_EQ(options.metadata_workers, 0U);
  EXPECT_EQ(options.metadata_backlog, 17);
  EXPECT_EQ(options.directory, DirectorySource::ovn);
}

TEST(Options, ABadValueIsNamed) {
  const auto options = AgentOptions::from(
      Config::parse("nova_metadata_protocol = gopher\n", "metadata_agent.ini").value());
  ASSERT_FALSE(options);
  EXPECT_THAT(options.error().message,
              testing::AllOf(HasSubstr("metadata_agent.ini:1"), HasSubstr("nova_metadata_protocol"),
                             HasSubstr("http, https")));
}

TEST(SocketMode, FollowsNeutronsRules) {
  AgentOptions options;
  const auto mode = [&](std::string how, std::string user, std::string group) {
    options.metadata_proxy_socket_mode = std::move(how);
    options.metadata_proxy_user = std::move(user);
    options.metadata_proxy_group = std::move(group);
    return socket_mode(options);
  };
  EXPECT_EQ(mode("user", "nobody", "nogroup"), 0644U);
  EXPECT_EQ(mode("group", "", ""), 0664U);
  EXPECT_EQ(mode("all", "", ""), 0666U);
  EXPECT_EQ(mode("deduce", "", ""), 0644U);
  EXPECT_EQ(mode("deduce", "root", "x"), 0644U);
  EXPECT_EQ(mode("deduce", "0", "x"), 0644U);
  EXPECT_EQ(mode("deduce", std::to_string(::geteuid()), "x"), 0644U);
  EXPECT_EQ(mode("deduce", "metatap-nobody", ""), 0664U);
  EXPECT_EQ(mode("deduce", "metatap-nobody", std::to_string(::getegid())), 0664U);
  if (const auto* own = ::getgrgid(::getegid())) {
    EXPECT_EQ(mode("deduce", "metatap-nobody", own->gr_name), 0664U);
  }
  EXPECT_EQ(mode("deduce", "metatap-nobody", "metatap-nogroup"), 0666U);
}

TEST(Signer, MatchesTheContractsVectors) {
  EXPECT_EQ(Signer::with("secret")->sign("uuid1"),
            "3b5421875d7ba0fc910202f5ce448d9419597e7b66f702b53335116fee60e81e");
  const auto signer = Signer::with("s3cret").value();
  for (int times = 0; times < 2; ++times) {
    EXPECT_EQ(signer.sign("inst-a"),
              "ae933732a245786defdaef1604e37c604b45e062ad2deb95c470dd761c30a115");
  }
  EXPECT_FALSE(Signer::with(""));
}

}  // namespace
}  // namespace metatap::agent
