// SPDX-License-Identifier: Apache-2.0
#include "importer/credentials.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "importer/clouds_file.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::importer {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using Method = openstack::Access::Method;

const Variables kPassword{{"OS_AUTH_URL", "http://k/v3"},
                          {"OS_USERNAME", "u"},
                          {"OS_PASSWORD", "hush"},
                          {"OS_PROJECT_NAME", "p"}};

Result<Credentials> of(Variables variables) {
  return find_credentials({.openrc = {}, .cloud = {}, .environment = std::move(variables)});
}
Variables with(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  return variables;
}

TEST(Openrc, IsReadAndNotRun) {
  const auto read = read_openrc(
      "#!/bin/bash\n"
      "export OS_USERNAME=\"ad min\"\n"
      "  OS_PASSWORD='$ecret'  # as it is\n"
      "export OS_A=1 OS_B=\"two\\\"\"; export PATH=/evil\n"
      "export OS_C=\"$OS_A\"\n"
      "OS_D=`id`\r\n"
      "export OS_E=\\$plain\n"
      "unset OS_TENANT_ID OS_B\n"
      "if [ -z \"$OS_A\" ]; then unset OS_A; fi\n"
      "export OS_OPEN=\"goes on");
  EXPECT_THAT(read.set, ElementsAre(Pair("OS_A", "1"), Pair("OS_E", "$plain"),
                                    Pair("OS_PASSWORD", "$ecret"), Pair("OS_USERNAME", "ad min")));
  EXPECT_THAT(read.computed, ElementsAre(Pair("OS_C", 5U), Pair("OS_D", 6U), Pair("OS_OPEN", 10U)));
  EXPECT_THAT(read.unset, ElementsAre("OS_B", "OS_TENANT_ID"));
  EXPECT_THAT(read_openrc("").set, IsEmpty());
}

TEST(CloudsFile, SaysWhatIsSaidOfOneCloud) {
  const std::string text =
      "clouds:\n  one: &one\n    region_name: R\n    verify: false\n    auth:\n      username: u\n"
      "      password: '~'\n      user_id: ~\n  two:\n    <<: *one\n    region_name: S\n";
  EXPECT_THAT(*read_cloud(text, "one"),
              ElementsAre(Pair("password", "~"), Pair("region_name", "R"), Pair("username", "u"),
                          Pair("verify", "false")));
  EXPECT_EQ(read_cloud(text, "two")->at("region_name"), "S");
  EXPECT_EQ(read_cloud(text, "two")->at("username"), "u");
  EXPECT_EQ(read_cloud(text, "three").error().message,
            "there is no cloud 'three'; there is one, two");
  EXPECT_THAT(read_cloud("clouds:\n  one: [", "one").error().message, HasSubstr("line "));
  EXPECT_FALSE(read_cloud("", "one"));
  EXPECT_FALSE(read_cloud("clouds: 1", "one"));
  // A mapping that merges itself in has an end.
  EXPECT_TRUE(read_cloud("clouds:\n  one: &a\n    <<: *a\n    x: y\n", "one"));
}

TEST(Credentials, AreThoseOfTheVariables) {
  const auto found =
      of(with(with(kPassword, "OS_INTERFACE", "internalURL"), "OS_INSECURE", "True"));
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->access.method, Method::password);
  EXPECT_EQ(found->access.password, "hush");
  EXPECT_THAT(found->access.valid_interfaces, ElementsAre("internal"));
  EXPECT_TRUE(found->access.insecure);
  EXPECT_THAT(of(kPassword)->access.valid_interfaces, ElementsAre("public"));
  EXPECT_EQ(of(with(kPassword, "OS_TOKEN", "t"))->access.method, Method::token);
  EXPECT_EQ(of(with(kPassword, "OS_APPLICATION_CREDENTIAL_SECRET", "s")).error().message,
            "OS_APPLICATION_CREDENTIAL_ID is needed to sign in");
}

TEST(Credentials, AreAskedForByName) {
  for (const auto* name : {"OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"}) {
    EXPECT_THAT(of(with(kPassword, name, "")).error().message,
                AllOf(HasSubstr(std::string(name) + " is needed"), Not(HasSubstr("hush"))));
  }
  EXPECT_TRUE(of(with(with(kPassword, "OS_PROJECT_NAME", ""), "OS_TENANT_ID", "t")));
}

TEST(Credentials, OfAFileGoBeforeTheEnvironments) {
  const TemporaryDirectory folder;
  const auto file = folder.path() / "openrc";
  std::ofstream(file) << "unset OS_TOKEN\nexport OS_USERNAME=file\nexport OS_PASSWORD=$X\n";
  CredentialSource source{.openrc = file, .cloud = {}, .environment = kPassword};
  source.environment["OS_TOKEN"] = "t";
  source.environment["OS_CLOUD"] = "none";
  const auto found = find_credentials(source);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->access.method, Method::password);
  EXPECT_EQ(found->access.username, "file");
  EXPECT_EQ(found->access.password, "hush");
  source.environment.erase("OS_PASSWORD");
  EXPECT_THAT(find_credentials(source).error().message, HasSubstr("line 3"));
}

}  // namespace
}  // namespace metatap::importer
