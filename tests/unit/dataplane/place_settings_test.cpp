// SPDX-License-Identifier: Apache-2.0
#include "dataplane/place_settings.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace metatap::dataplane {
namespace {

namespace fs = std::filesystem;

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "metatap-journal-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    file_ = folder_ / "journal";
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(std::string_view text) { std::ofstream(file_, std::ios::app) << text; }
  fs::path folder_, file_;
};

TEST_F(JournalTest, RemembersWhatAKilledProcessDid) {
  write(R"({"namespace":7,"kind":0,"what":"net/a","device":"","before":"0","after":"1"})"
        "\n"
        R"({"namespace":7,"kind":1,"what":"240.254.98.254","device":"lo","before":"","after":""})"
        "\n"
        R"({"namespace":9,"kind":0,"wh)");  // killed while it wrote
  const PlaceJournal journal(file_);
  ASSERT_EQ(journal.changes(7).size(), 2U);
  EXPECT_EQ(journal.changes(7)[0], (PlaceChange{PlaceChange::Kind::sysctl, "net/a", "", "0", "1"}));
  EXPECT_EQ(journal.changes(7)[1].kind, PlaceChange::Kind::local_route);
  EXPECT_TRUE(journal.changes(9).empty());
}

TEST_F(JournalTest, ForgetsWhatIsGone) {
  write(R"({"namespace":7,"kind":0,"what":"net/a","device":"","before":"0","after":"1"})"
        "\n");
  {
    PlaceJournal journal(file_);
    journal.forget(7);
  }
  EXPECT_TRUE(PlaceJournal(file_).changes(7).empty());
  EXPECT_FALSE(fs::exists(file_));
}

TEST_F(JournalTest, WorksWithoutAFile) {
  PlaceJournal journal({});
  journal.forget(1);
  EXPECT_TRUE(journal.changes(1).empty());
}

TEST(NamespaceCookie, IsNeverZero) {
  const auto cookie = namespace_cookie();
  if (!cookie) {
    GTEST_SKIP() << cookie.error().message;
  }
  EXPECT_NE(*cookie, 0U);
}

}  // namespace
}  // namespace metatap::dataplane
