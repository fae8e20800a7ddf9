// SPDX-License-Identifier: Apache-2.0
#include "base/option_reader.hpp"

#include <gmock/gmock.h>

namespace metatap {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

enum class Colour : std::uint8_t { red, green };

/// A struct of options as the stages have them.
struct Options {
  std::string name = "$base/name", secret;
  std::filesystem::path path = "/somewhere";
  std::optional<std::filesystem::path> file;
  std::vector<std::string> items{"a", "b"}, parts{"x", "y"};
  std::optional<std::vector<std::string>> devices;
  bool on = true;
  std::uint16_t port = 80;
  std::chrono::milliseconds timeout{30'000};
  std::chrono::milliseconds probe{60'000};
  Colour colour = Colour::green;
  std::string mode = "one";

  Status read(const Config& config) {
    OptionReader read(config);
    read.text({"DEFAULT", "name", "What it is called"}, name);
    read.secret({"g", "secret", "Known to few"}, secret);
    read.text({"g", "path", "Where it is"}, path);
    read.text({"g", "file", "What it follows"}, file);
    read.list({"g", "items", "What it holds"}, items);
    read.words({"g", "parts", "What it is made of"}, parts);
    read.list({"g", "devices", "What it has"}, devices);
    read.boolean({"g", "on", "Whether"}, on);
    read.integer({"g", "port", "Where it listens"}, port, 1, 65535);
    read.seconds({"g", "timeout", "For how long"}, timeout, 1, 3600);
    read.milliseconds({"g", "probe", "How often"}, probe, 1000, 100'000);
    read.choice({"g", "colour", "Its look"}, colour,
                {{"red", Colour::red}, {"green", Colour::green}});
    read.choice({"g", "mode", "Its way"}, mode, {"one", "two"});
    return read.status();
  }
};

TEST(OptionReader, LeavesTheDefaultsOfWhatIsNotSet) {
  Options options;
  ASSERT_TRUE(options.read(Config::parse("base = /b\n").value()));
  EXPECT_EQ(options.name, "/b/name");
  EXPECT_EQ(options.path, "/somewhere");
  EXPECT_EQ(options.file, std::nullopt);
  EXPECT_THAT(options.items, ElementsAre("a", "b"));
  EXPECT_THAT(options.parts, ElementsAre("x", "y"));
  EXPECT_EQ(options.devices, std::nullopt);
  EXPECT_TRUE(options.on);
  EXPECT_EQ(options.port, 80);
  EXPECT_EQ(options.timeout, std::chrono::seconds(30));
  EXPECT_EQ(options.colour, Colour::green);
}

TEST(OptionReader, TakesWhatIsSet) {
  Options options;
  ASSERT_TRUE(options.read(
      Config::parse("name = n\n[g]\nsecret = s\npath = /p\nfile = /f\nitems = c\nparts = u  v\n"
                    "devices =\non = no\nport = 81\ntimeout = 7\nprobe = 1500\ncolour = red\n"
                    "mode = two\n")
          .value()));
  EXPECT_EQ(options.name, "n");
  EXPECT_EQ(options.secret, "s");
  EXPECT_EQ(options.path, "/p");
  EXPECT_EQ(options.file, "/f");
  EXPECT_THAT(options.items, ElementsAre("c"));
  EXPECT_THAT(options.parts, ElementsAre("u", "v"));
  ASSERT_TRUE(options.devices);  // set to nothing is not the same as not set
  EXPECT_TRUE(options.devices->empty());
  EXPECT_FALSE(options.on);
  EXPECT_EQ(options.port, 81);
  EXPECT_EQ(options.timeout, std::chrono::seconds(7));
  EXPECT_EQ(options.probe, std::chrono::milliseconds(1500));
  EXPECT_EQ(options.colour, Colour::red);
  EXPECT_EQ(options.mode, "two");
}

TEST(OptionReader, RemembersTheFirstThatIsWrong) {
  Options options;
  const auto status =
      options.read(Config::parse("name = n\n[g]\nport = 0\ncolour = blue\n", "x.conf").value());
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("x.conf:3: [g] port = '0'"));
  EXPECT_EQ(options.name, "n");  // the rest was read all the same
}

TEST(OptionReader, SaysWhereAValueIsNotWhatItsReaderRequires) {
  const auto config = Config::parse("[g]\npath = here\n", "x.conf").value();
  std::filesystem::path path;
  OptionReader read(config);
  read.text({"g", "path", "Where it is"}, path);
  read.require("g", "path", true, "anything");
  ASSERT_TRUE(read.status());
  read.require("g", "path", path.is_absolute(), "an absolute path");
  read.require("g", "path", false, "something else");
  ASSERT_FALSE(read.status());
  EXPECT_EQ(read.status().error().message, "x.conf:2: [g] path: expected an absolute path");
}

TEST(OptionReader, DeclaresWhatThereIs) {
  const auto config = Config::parse("base = /b\n[g]\nsecret = hush\nitems = set\n").value();
  Options options;
  options.secret = "default-hush";
  ASSERT_TRUE(options.read(config));
  ASSERT_TRUE(Options().read(config));  // twice: still declared once
  const auto all = config.options();
  ASSERT_EQ(all.size(), 13U);
  EXPECT_EQ(all[0].group, "DEFAULT");
  EXPECT_EQ(all[0].name, "name");
  EXPECT_EQ(all[0].fallback, "$base/name");  // as one would write it
  EXPECT_EQ(all[0].help, "What it is called");
  EXPECT_EQ(all[4].type, OptionType::list);
  EXPECT_EQ(all[4].fallback, "a, b");
  EXPECT_EQ(all[7].fallback, "true");
  EXPECT_EQ(all[8].type, OptionType::integer);
  EXPECT_EQ(all[8].max, 65535);
  EXPECT_EQ(all[9].fallback, "30");
  EXPECT_EQ(all[9].unit, "seconds");
  EXPECT_EQ(all[10].unit, "milliseconds");
  EXPECT_EQ(all[11].type, OptionType::choice);
  EXPECT_EQ(all[11].fallback, "green");
  EXPECT_THAT(all[11].choices, ElementsAre("red", "green"));
  for (const auto& option : all) {
    EXPECT_THAT(option.fallback, Not(HasSubstr("hush"))) << option.name;
    EXPECT_FALSE(option.help.empty()) << option.name;
  }
  EXPECT_EQ(all[1].type, OptionType::secret);
}

}  // namespace
}  // namespace metatap
