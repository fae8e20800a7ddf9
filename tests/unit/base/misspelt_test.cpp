// SPDX-License-Identifier: Apache-2.0
#include "base/misspelt.hpp"

#include <gmock/gmock.h>

#include <array>

#include "base/option_text.hpp"
#include "base/spelling.hpp"

namespace metatap {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::array kSections{OptionSection{"DEFAULT", false, "Everybody's."},
                               OptionSection{"proxy", true, "Ours."},
                               OptionSection{"agent", false, "Neutron's, too."}};

const std::vector<OptionInfo>& options() {
  static const std::vector<OptionInfo> all{
      {.group = "DEFAULT",
       .name = "drain_time",
       .fallback = "5",
       .choices = {},
       .help = "How long"},
      {.group = "proxy", .name = "workers", .fallback = "a|b", .choices = {}, .help = "How many"},
      {.group = "agent", .name = "directory", .choices = {}, .help = "Where"}};
  return all;
}

std::string refusal(std::string_view text) {
  const auto config = Config::parse(text, "x.conf").value();
  const auto status = refuse_misspelt(config, {kSections, options()});
  return status ? "" : status.error().message;
}

TEST(Misspelt, InASectionOfOurOwnIsRefused) {
  EXPECT_EQ(refusal("[proxy]\nwokers = 1\n"),
            "x.conf:2: [proxy] wokers: there is no such option; did you mean workers?");
  EXPECT_EQ(refusal("[proxy]\nsomething = 1\n"),
            "x.conf:2: [proxy] something: there is no such option");
  EXPECT_EQ(refusal("[proxy]\ndrain_time = 1\n"),
            "x.conf:2: [proxy] drain_time: there is no such option; did you mean [DEFAULT] "
            "drain_time?");
}

TEST(Misspelt, SectionThatIsNearlyOursIsRefused) {
  EXPECT_EQ(refusal("[prxoy]\nworkers = 1\n"),
            "x.conf:2: [prxoy] workers: there is no such option; did you mean [proxy]?");
}

TEST(Misspelt, WhatMayBeAnotherProgramsIsNot) {
  EXPECT_EQ(refusal("drian_time = 1\n[agent]\nreport_interval = 30\ndirectroy = x\n"
                    "[libvirt]\nvirt_type = kvm\n[agnet]\ndirectory = x\n"),
            "");
}

TEST(Misspelt, OptionOfAPartThatDoesNotRunIsNot) {
  EXPECT_EQ(refusal("[proxy]\nworkers = 1\n"), "");
}

TEST(Spelling, CountsLetters) {
  EXPECT_EQ(letters_apart("", ""), 0U);
  EXPECT_EQ(letters_apart("", "abc"), 3U);
  EXPECT_EQ(letters_apart("abc", "abc"), 0U);
  EXPECT_EQ(letters_apart("abc", "acb"), 1U);
  EXPECT_EQ(letters_apart("kitten", "sitting"), 3U);
}

TEST(Spelling, FarWordsWereNotMeant) {
  const std::vector<std::string> words{"file", "database"};
  EXPECT_EQ(meant_word("fiel", words), "file");
  EXPECT_EQ(meant_word("datbase", words), "database");
  EXPECT_EQ(meant_word("pile", words), "file");
  EXPECT_EQ(meant_word("xy", words), std::nullopt);
  EXPECT_EQ(meant_word("", words), std::nullopt);
  EXPECT_EQ(meant_word("virt_type", words), std::nullopt);
}

TEST(OptionText, SaysEachOptionOnceAndBreaksNoTable) {
  const auto text = options_as_markdown(kSections, options());
  EXPECT_THAT(text, HasSubstr("## [proxy]\n\nOurs.\n"));
  EXPECT_THAT(text, HasSubstr("| `workers` | text | `a\\|b` | How many. |\n"));
  EXPECT_THAT(text, HasSubstr("| `directory` | text | – | Where. |\n"));
}

TEST(OptionText, OfAManualHasNoRequestsOfItsOwn) {
  const std::vector<OptionInfo> odd{
      {.group = "proxy", .name = "odd", .fallback = ".so \\x-y", .choices = {}, .help = "'tis"}};
  const auto text = options_as_manual(kSections, odd);
  EXPECT_THAT(text, HasSubstr(".It Cm odd\n\\&'tis.\n"));
  EXPECT_THAT(text, HasSubstr("\nDefault: .so \\ex\\-y\n"));
  EXPECT_THAT(text, Not(HasSubstr("\n.so")));
}

}  // namespace
}  // namespace metatap
