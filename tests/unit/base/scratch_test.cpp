// SPDX-License-Identifier: Apache-2.0
#include "base/scratch.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/file.hpp"

namespace metatap {
namespace {

TEST(ReplaceFile, IsTheWholeOrNothing) {
  const auto folder = Scratch::directory();
  ASSERT_TRUE(folder);
  const auto file = folder->path() / "file";
  const auto mode = [&] {
    struct stat info{};
    EXPECT_EQ(::stat(file.c_str(), &info), 0);
    return info.st_mode & 0777U;
  };
  ASSERT_TRUE(replace_file(file, "one"));
  EXPECT_EQ(read_file(file), "one");
  EXPECT_EQ(mode(), 0600U);
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  ASSERT_TRUE(replace_file(file, "two"));
  EXPECT_EQ(read_file(file), "two");
  EXPECT_EQ(mode(), 0640U);
  EXPECT_FALSE(replace_file(folder->path() / "absent" / "file", "three"));
  // A directory cannot be replaced, and nothing is left beside it.
  ASSERT_TRUE(std::filesystem::create_directories(folder->path() / "directory" / "full"));
  EXPECT_FALSE(replace_file(folder->path() / "directory", "four"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder->path()), {}), 2);
}

}  // namespace
}  // namespace metatap
