// SPDX-License-Identifier: Apache-2.0
#include "sys/expedited_rcu.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

namespace metatap::sys {
namespace {

namespace fs = std::filesystem;

/// A switch of the test's own.
class ExpeditedRcuTest : public ::testing::Test {
 protected:
  ExpeditedRcuTest() {
    rcu_.file = directory_ / "rcu_expedited";
    rcu_.record = directory_ / "run" / "before";
    fs::create_directory(rcu_.record.parent_path());
    set("0\n");
  }
  ~ExpeditedRcuTest() override { fs::remove_all(directory_); }
  static fs::path make_directory() {
    auto pattern = (fs::temp_directory_path() / "metatapXXXXXX").string();
    return ::mkdtemp(pattern.data());
  }
  void set(const char* value) const { std::ofstream(rcu_.file) << value; }
  [[nodiscard]] char now() const {
    char value = '?';
    std::ifstream(rcu_.file) >> value;
    return value;
  }

  fs::path directory_ = make_directory();
  RcuSwitch rcu_;
};

TEST_F(ExpeditedRcuTest, IsOnForTheMomentAndPutBack) {
  {
    const ExpeditedRcu soon(rcu_, true);
    EXPECT_EQ(now(), '1');
    const ExpeditedRcu inner(rcu_, true);
  }
  EXPECT_EQ(now(), '0');
  EXPECT_FALSE(fs::exists(rcu_.record));
}

TEST_F(ExpeditedRcuTest, LeavesItWhereNothingCanBeRecordedAndMakesNoDirectory) {
  fs::remove(rcu_.record.parent_path());
  {
    const ExpeditedRcu soon(rcu_, true);
    EXPECT_EQ(now(), '0');
  }
  EXPECT_FALSE(fs::exists(rcu_.record.parent_path()));
}

TEST_F(ExpeditedRcuTest, LeavesWhatWasOnOrIsNotAllowed) {
  {
    const ExpeditedRcu not_worth_it(rcu_, false);
  }
  rcu_.allowed = false;
  {
    const ExpeditedRcu soon(rcu_, true);
    EXPECT_EQ(now(), '0');
  }
  rcu_.allowed = true;
  set("1\n");
  {
    const ExpeditedRcu soon(rcu_, true);
  }
  EXPECT_EQ(now(), '1') << "the operator's own";
  EXPECT_FALSE(fs::exists(rcu_.record));
}

TEST_F(ExpeditedRcuTest, TheNextProcessPutsBackWhatAKilledOneChanged) {
  const auto child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const ExpeditedRcu soon(rcu_, true);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(now(), '1');
  EXPECT_TRUE(rcu_.put_back());
  EXPECT_EQ(now(), '0');
  EXPECT_FALSE(fs::exists(rcu_.record));
  set("1\n");
  EXPECT_TRUE(rcu_.put_back());
  EXPECT_EQ(now(), '1') << "put back once";
}

}  // namespace
}  // namespace metatap::sys
