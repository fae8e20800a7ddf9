// SPDX-License-Identifier: Apache-2.0
#include "base/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <map>

namespace metatap {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Config parsed(std::string_view text) {
  auto config = Config::parse(text, "agent.ini");
  if (!config) {
    ADD_FAILURE() << config.error().message;
    return {};
  }
  return *config;
}

std::string error_of(std::string_view text) {
  auto config = Config::parse(text, "agent.ini");
  return config ? "" : config.error().message;
}

class Files : public testing::Test {
 protected:
  Files() {
    root_ = std::filesystem::temp_directory_path() /
            ("metatap-config-" + std::to_string(::getpid()) + "-" +
             testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(root_ / "conf.d");
  }
  ~Files() override { std::filesystem::remove_all(root_); }
  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name) << text;
    return root_ / name;
  }
  std::filesystem::path root_;
};

TEST(Config, ReadsGroupsCommentsAndBothSigns) {
  const auto config = parsed(
      "# comment\n[DEFAULT]\nnova_metadata_host = 192.0.2.1\n; another\nnova-metadata-port: 8775\n"
      "[Cache]\nenabled = Yes\nquoted = \"  kept  \"\n");
  EXPECT_EQ(config.text("DEFAULT", "nova_metadata_host", "x"), "192.0.2.1");
  EXPECT_EQ(config.integer("DEFAULT", "nova_metadata_port", 1, 1, 65535), 8775);
  EXPECT_EQ(config.boolean("cache", "enabled", false), true);
  EXPECT_EQ(config.text("cache", "quoted", ""), "  kept  ");
  EXPECT_EQ(config.where("DEFAULT", "nova_metadata_port"), "agent.ini:5");
  EXPECT_EQ(config.where("DEFAULT", "absent"), std::nullopt);
}

TEST(Config, OptionsBeforeAnyGroupAreDefault) {
  EXPECT_EQ(parsed("a = 1\n").integer("DEFAULT", "a", 0, 0, 9), 1);
}

TEST(Config, AbsentOptionsAreTheirFallbacks) {
  const Config config;
  EXPECT_EQ(config.text("g", "n", "fallback"), "fallback");
  EXPECT_EQ(config.text("g", "n").value(), std::nullopt);
  EXPECT_EQ(config.integer("g", "n", 7, 0, 9), 7);
  EXPECT_EQ(config.boolean("g", "n", true), true);
  EXPECT_THAT(config.list("g", "n", {"a"}).value(), ElementsAre("a"));
  EXPECT_THAT(config.multi("g", "n").value(), IsEmpty());
}

TEST(Config, AnEmptyIntegerIsItsFallback) {
  EXPECT_EQ(parsed("n =\n").integer("DEFAULT", "n", 7, 0, 9), 7);
  EXPECT_EQ(parsed("n =\n").text("DEFAULT", "n", "fallback"), "");
}

TEST(Config, TheLastOfRepeatedKeysWinsAndMultiKeepsAll) {
  const auto config = parsed("a = 1\na = 2\n[g]\nb = 3\n[DEFAULT]\na = 4\n");
  EXPECT_EQ(config.text("DEFAULT", "a", ""), "4");
  EXPECT_THAT(config.multi("DEFAULT", "a").value(), ElementsAre("1", "2", "4"));
}

TEST(Config, ContinuationLinesMakeMultiLineLists) {
  const auto config =
      parsed("endpoints = tcp:192.0.2.1:6642,\n  tcp:192.0.2.2:6642,\n\ttcp:c:1\n\nx = y\n");
  EXPECT_THAT(config.list("DEFAULT", "endpoints", {}).value(),
              ElementsAre("tcp:192.0.2.1:6642", "tcp:192.0.2.2:6642", "tcp:c:1"));
  EXPECT_EQ(config.text("DEFAULT", "x", ""), "y");
}

TEST(Config, SubstitutesNamesOfItsGroupThenOfDefault) {
  const auto config = parsed(
      "state_path = /srv\nsocket = $state_path/metadata_proxy\nprice = 5$$\nescaped = \\$x\n"
      "other = ${g.name}-x\nalso = $g.name\nlone = a$ b\nsuffix = ${state_path}d\n"
      "dotted = $state_path.old\n"
      "[g]\nname = value\nhere = $name\nthere = $state_path\n");
  EXPECT_EQ(config.text("DEFAULT", "socket", ""), "/srv/metadata_proxy");
  EXPECT_EQ(config.text("DEFAULT", "price", ""), "5$");
  EXPECT_EQ(config.text("DEFAULT", "escaped", ""), "$x");
  EXPECT_EQ(config.text("DEFAULT", "other", ""), "value-x");
  EXPECT_EQ(config.text("DEFAULT", "also", ""), "value");
  EXPECT_EQ(config.text("DEFAULT", "lone", ""), "a$ b");
  EXPECT_EQ(config.text("DEFAULT", "suffix", ""), "/srvd");
  EXPECT_EQ(config.text("DEFAULT", "dotted", ""), "/srv.old");
  EXPECT_EQ(config.text("g", "here", ""), "value");
  EXPECT_EQ(config.text("g", "there", ""), "/srv");
}

TEST(Config, SubstitutesFallbacks) {
  const auto config = parsed("a = ${base}/x\n");
  EXPECT_FALSE(config.text("DEFAULT", "a", ""));
  EXPECT_EQ(config.text("DEFAULT", "base", "/opt"), "/opt");
  EXPECT_EQ(config.text("DEFAULT", "a", ""), "/opt/x");
  EXPECT_EQ(config.text("DEFAULT", "metadata_proxy_socket", "$state_path/metadata_proxy"),
            "/var/lib/metatap/metadata_proxy");
}

TEST(Config, UnknownAndCircularSubstitutionsAreNamed) {
  const auto config = parsed("\na = $nowhere\nb = $c\nc = $b\n");
  EXPECT_THAT(config.text("DEFAULT", "a", "").error().message,
              testing::AllOf(HasSubstr("agent.ini:2"), HasSubstr("[DEFAULT] a"),
                             HasSubstr("$nowhere"), HasSubstr("$$")));
  EXPECT_THAT(config.text("DEFAULT", "b", "").error().message, HasSubstr("ring"));
}

TEST(Config, BadValuesNameFileLineOptionAndExpectation) {
  const auto config = parsed("[g]\nport = 70000\nflag = perhaps\nmode = other\nnumber = 1x\n");
  EXPECT_EQ(config.integer("g", "port", 1, 1, 65535).error().message,
            "agent.ini:2: [g] port = '70000': expected an integer from 1 to 65535");
  EXPECT_EQ(config.boolean("g", "flag", false).error().message,
            "agent.ini:3: [g] flag = 'perhaps': expected true or false");
  EXPECT_EQ(config.choice("g", "mode", "deduce", {"deduce", "user"}).error().message,
            "agent.ini:4: [g] mode = 'other': expected one of deduce, user");
  EXPECT_FALSE(config.integer("g", "number", 1, 1, 65535));
  EXPECT_EQ(config.choice("g", "absent", "deduce", {"deduce", "user"}), "deduce");
}

TEST(Config, BrokenLinesAreNamed) {
  EXPECT_EQ(error_of("a = 1\nnonsense\n"), "agent.ini:2: expected 'option = value'");
  EXPECT_EQ(error_of("[g\n"), "agent.ini:1: expected a group such as [DEFAULT]");
  EXPECT_EQ(error_of("  a\n"), "agent.ini:1: a continuation line without an option above it");
  EXPECT_EQ(error_of("= 1\n"), "agent.ini:1: no option name before the '='");
}

TEST(Config, OlderNamesStillCount) {
  EXPECT_EQ(parsed("nova_metadata_ip = 192.0.2.9\n").text("DEFAULT", "nova_metadata_host", ""),
            "192.0.2.9");
  EXPECT_EQ(parsed("nova_metadata_ip = 192.0.2.9\nnova_metadata_host = new\n")
                .text("DEFAULT", "nova_metadata_host", ""),
            "new");
  const auto config = parsed("dhcp_domain = example.org\n");
  EXPECT_EQ(config.text("api", "dhcp_domain", "novalocal"), "example.org");
  EXPECT_THAT(config.unread(), IsEmpty());
}

TEST(Config, SettingsMaskSecrets) {
  const auto config = parsed(
      "metadata_proxy_shared_secret = hunter2\n[neutron]\npassword = hunter2\n"
      "application_credential_secret = hunter2\nusername = nova\n[database]\n"
      "connection = postgresql://metatap:hunter2@db/metatap\n[other]\n"
      "connection = host=db password=hunter2 dbname=m\n");
  std::string shown;
  for (const auto& setting : config.settings()) {
    shown += setting.group + "." + setting.name + "=" + setting.value + " " + setting.where + "\n";
  }
  EXPECT_THAT(shown, Not(HasSubstr("hunter2")));
  EXPECT_THAT(shown, HasSubstr("neutron.username=nova agent.ini:5"));
  EXPECT_THAT(shown, HasSubstr("postgresql://metatap:***@db/metatap"));
  EXPECT_THAT(shown, HasSubstr("host=db password=*** dbname=m"));
}

TEST(Config, NoPartOfAPasswordIsLeft) {
  for (const auto* url : {"postgresql://metatap:hun@ter2@db/metatap", "https://u:hu/nter2@host/",
                          "postgresql://db/metatap?password=hunter2&x=1"}) {
    const auto shown = parsed("[x]\nconnection = " + std::string(url) + "\n").settings();
    EXPECT_THAT(shown.front().value, Not(HasSubstr("ter2"))) << url;
  }
}

TEST(Config, InEffectIsEachDeclaredOptionWithItsOrigin) {
  const auto config =
      parsed("base = /b\n[g]\npath = $base/x\npath = $base/y\nhidden_secret = hunter2\n");
  config.declare({.group = "DEFAULT", .name = "base", .fallback = "/a", .choices = {}});
  config.declare({.group = "g", .name = "path", .choices = {}});
  config.declare({.group = "g", .name = "absent", .fallback = "$base/z", .choices = {}});
  config.declare({.group = "g", .name = "hidden_secret", .choices = {}});
  std::string shown;
  for (const auto& setting : config.in_effect()) {
    shown += setting.group + "." + setting.name + "=" + setting.value + " " + setting.where + "\n";
  }
  EXPECT_EQ(shown,
            "DEFAULT.base=/b agent.ini:1\ng.path=/b/y agent.ini:4\ng.absent=/b/z \n"
            "g.hidden_secret=*** agent.ini:5\n");
}

TEST(Config, ANumberMayHaveAFraction) {
  const auto config = parsed("a = 2.5\nb = 3\nc = nan\nd = 9.5\n");
  EXPECT_EQ(config.number("DEFAULT", "a", 1, 0, 9), 2.5);
  EXPECT_EQ(config.number("DEFAULT", "b", 1, 0, 9), 3);
  EXPECT_EQ(config.number("DEFAULT", "absent", 1.5, 0, 9), 1.5);
  for (const auto* name : {"c", "d"}) {
    EXPECT_THAT(config.number("DEFAULT", name, 1, 0, 9).error().message,
                HasSubstr("expected a number from 0 to 9"));
  }
}

TEST(Config, AnErrorNeverShowsASecret) {
  EXPECT_THAT(
      parsed("auth_token = hunter2\n").integer("DEFAULT", "auth_token", 0, 0, 1).error().message,
      Not(HasSubstr("hunter2")));
}

TEST(Config, UnreadOptionsAreKnown) {
  const auto config = parsed("known = 1\n[AGENT]\nreport_interval = 30\n");
  EXPECT_TRUE(config.integer("DEFAULT", "known", 0, 0, 9));
  const auto unread = config.unread();
  ASSERT_EQ(unread.size(), 1U);
  EXPECT_EQ(unread.front().name, "report_interval");
  EXPECT_EQ(unread.front().where, "agent.ini:3");
}

TEST_F(Files, LaterFilesThenTheDirectoryInNameOrderWin) {
  const auto first = write("a.ini", "a = file1\nb = file1\nc = file1\nd = file1\n");
  const auto second = write("b.ini", "b = file2\nc = file2\nd = file2\n");
  write("conf.d/20.conf", "d = dir20\n");
  write("conf.d/10.conf", "c = dir10\nd = dir10\n");
  write("conf.d/30.ignored", "a = ignored\n");
  const auto config = Config::load({first, second}, root_ / "conf.d").value();
  EXPECT_EQ(config.text("DEFAULT", "a", ""), "file1");
  EXPECT_EQ(config.text("DEFAULT", "b", ""), "file2");
  EXPECT_EQ(config.text("DEFAULT", "c", ""), "dir10");
  EXPECT_EQ(config.text("DEFAULT", "d", ""), "dir20");
  EXPECT_THAT(config.where("DEFAULT", "d").value(), HasSubstr("20.conf:1"));
}

TEST_F(Files, AnEmptyFileIsFine) {
  EXPECT_TRUE(Config::load({write("empty.ini", "")}, {}));
}

TEST_F(Files, WhatCannotBeReadIsNamed) {
  const auto missing = Config::load({root_ / "absent.ini"}, {});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_THAT(missing.error().message, HasSubstr("absent.ini"));
  EXPECT_THAT(Config::load({root_}, {}).error().message, HasSubstr("directory"));
  EXPECT_THAT(Config::load({}, root_ / "absent.d").error().message, HasSubstr("absent.d"));
}

TEST(Config, NamesWhatHasChangedAndWhenItIsTaken) {
  const auto before = *Config::parse("[DEFAULT]\na = 1\nsecret_of_a = x\n[g]\nb = $a\nc = 1\n");
  const auto after = *Config::parse("[DEFAULT]\na = 2\nsecret_of_a = y\n[g]\nb = $a\nd = 1\n");
  after.declare({.group = "g", .name = "b", .choices = {}, .takes = Takes::reload});
  std::map<std::string, Takes> changed;
  for (const auto& [option, takes] : after.changed_since(before)) {
    changed.emplace(option, takes);
  }
  const std::map<std::string, Takes> expected{{"[DEFAULT] a", Takes::restart},
                                              {"[DEFAULT] secret_of_a", Takes::restart},
                                              {"[g] b", Takes::reload},
                                              {"[g] c", Takes::restart},
                                              {"[g] d", Takes::restart}};
  EXPECT_EQ(changed, expected);
  EXPECT_TRUE(after.changed_since(after).empty());
}

}  // namespace
}  // namespace metatap
