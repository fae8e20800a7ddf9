// SPDX-License-Identifier: Apache-2.0
#include "base/port_tag.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "base/key_file.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::string_view kText = "0123456789abcdef0123456789abcdef";

std::string text_of(const Signature& signature) {
  return {signature.begin(), signature.end()};
}

// RFC 4231, test cases 1 and 2.
TEST(Hmac, IsTheStandards) {
  const std::string_view first = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
  const std::string_view second =
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
  EXPECT_EQ(text_of(sign(std::string(20, '\x0b'), "Hi There")), first);
  EXPECT_EQ(text_of(sign("Jefe", "what do ya want for nothing?")), second);
  const SigningKey one(std::string(20, '\x0b'));
  const SigningKey two("Jefe");
  for (int i = 0; i < 3; ++i) {  // keys in turn, on a thread that remembers the last one
    EXPECT_EQ(text_of(one.sign("Hi There")), first);
    EXPECT_EQ(text_of(one.sign("Hi There")), first);
    EXPECT_EQ(text_of(two.sign("what do ya want for nothing?")), second);
    EXPECT_EQ(text_of(two.sign("Hi There")), text_of(sign("Jefe", "Hi There")));
  }
  SigningKey first_of_two("Jefe");
  const SigningKey moved(std::move(first_of_two));
  EXPECT_EQ(text_of(moved.sign("what do ya want for nothing?")), second);
}

TEST(PortTag, SignsEveryPartInItsPlace) {
  const PortTagKey key{std::string(kText)};
  const std::vector<DirectoryQuery> tags{
      {"p", "n", "", "a"},     {"p", "", "n", "a"}, {"pn", "", "", "a"},
      {"p", "na", "", ""},     {"p", "n", "", "b"}, {"q", "n", "", "a"},
      {"p\n1:n", "", "", "a"}, {"", "n", "", "a"},  {"", "", "", ""}};
  std::set<std::string> seen;
  for (const auto& tag : tags) {
    const auto signature = text_of(key.sign(tag));
    EXPECT_TRUE(seen.insert(signature).second) << "two tags with one signature";
    EXPECT_TRUE(key.signed_by_us(tag, signature));
    EXPECT_FALSE(key.signed_by_us(tag, ""));
    EXPECT_FALSE(key.signed_by_us(tag, signature + "0"));
    EXPECT_FALSE(PortTagKey(std::string(32, 'x')).signed_by_us(tag, signature));
  }
  // The encoding is a contract between processes of two versions.
  EXPECT_EQ(text_of(key.sign({"p", "n", "", "10.0.0.1"})),
            text_of(sign(kText, "metatap-port/1\n1:p\n1:n\n0:\n8:10.0.0.1")));
}

Result<PortTagOptions> options_of(std::string_view text) {
  return PortTagOptions::from(Config::parse(text, "metatapd.conf").value());
}

TEST(PortTag, KeyIsConfiguredOrInTheRunDirectory) {
  EXPECT_EQ(options_of("")->key_file, "/run/metatap/port_tag.key");
  EXPECT_EQ(options_of("run_path = /run/x")->key_file, "/run/x/port_tag.key");
  const auto given = options_of("port_tag_key = " + std::string(kText));
  ASSERT_TRUE(given);
  const DirectoryQuery tag{"p", "n", "", "a"};
  EXPECT_EQ(PortTagKey::open(*given)->sign(tag), PortTagKey(std::string(kText)).sign(tag));
  const auto wrong = options_of("port_tag_key = tooshort");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, AllOf(HasSubstr("metatapd.conf:1"), HasSubstr("port_tag_key"),
                                           HasSubstr("32"), testing::Not(HasSubstr("tooshort"))));
  const auto config = Config::parse("port_tag_key = " + std::string(kText), "x").value();
  EXPECT_EQ(config.settings().front().value, "***");
}

class KeyFile : public testing::Test {
 protected:
  KeyFile() { ::chmod(directory_.path().c_str(), 0755); }
  void write(std::string_view bytes, mode_t mode) {
    std::ofstream(file_, std::ios::trunc) << bytes;
    ::chmod(file_.c_str(), mode);
  }
  struct stat status() const {
    struct stat found{};
    ::stat(file_.c_str(), &found);
    return found;
  }
  std::string refusal() const {
    const auto read = read_or_make_key_file(file_);
    EXPECT_FALSE(read);
    return read ? "" : read.error().message;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      all.push_back(entry.path().filename());
    }
    return all;
  }

  TemporaryDirectory directory_;
  std::filesystem::path file_ = directory_.path() / "port_tag.key";
};

TEST_F(KeyFile, IsMadeOnceAndKept) {
  EXPECT_EQ(read_key_file(file_).error().code, ErrorCode::not_found);
  const auto made = read_or_make_key_file(file_);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(*made, SizeIs(kKeyBytes));
  EXPECT_EQ(*read_or_make_key_file(file_), *made);
  EXPECT_EQ(*read_key_file(file_), *made);
  EXPECT_EQ(status().st_mode & 07777, 0640U);
  EXPECT_THAT(names(), testing::ElementsAre("port_tag.key"));
  std::filesystem::remove(file_);
  EXPECT_NE(*read_or_make_key_file(file_), *made) << "no two are equal";
  EXPECT_TRUE(read_or_make_key_file(directory_.path() / "not/yet/there/port_tag.key"));
}

TEST_F(KeyFile, BelongsToTheGroupOfItsDirectory) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root to give a directory to another group";
  }
  constexpr gid_t kGroup = 4242;
  ASSERT_EQ(::chown(directory_.path().c_str(), 0, kGroup), 0);
  ASSERT_TRUE(read_or_make_key_file(file_));
  EXPECT_EQ(status().st_gid, kGroup);
  EXPECT_EQ(status().st_uid, 0U);
}

TEST_F(KeyFile, IsTheSameForAllWhoComeAtOnce) {
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> keys(8);
    std::vector<std::thread> threads;
    for (auto& key : keys) {
      threads.emplace_back([&] { key = read_or_make_key_file(file_).value_or(""); });
    }
    for (auto& thread : threads) {
      thread.join();
    }
    EXPECT_THAT(keys.front(), SizeIs(kKeyBytes));
    EXPECT_THAT(keys, testing::Each(keys.front()));
    std::filesystem::remove(file_);
  }
  EXPECT_THAT(names(), testing::IsEmpty());
}

TEST_F(KeyFile, IsRefusedWhenOthersMayReadOrWriteIt) {
  for (const mode_t mode : {0644, 0604, 0660, 0602, 0666, 0620, 0601}) {
    write(kText, mode);
    EXPECT_THAT(refusal(), AllOf(HasSubstr(file_.string()), HasSubstr("0640"))) << mode;
  }
  for (const mode_t mode : {0600, 0640, 0400, 0440}) {
    write(kText, mode);
    EXPECT_EQ(read_key_file(file_).value(), kText) << mode;
    std::filesystem::remove(file_);
  }
}

TEST_F(KeyFile, IsRefusedWhenItIsTooShortOrNoFile) {
  write("", 0600);
  EXPECT_THAT(refusal(), AllOf(HasSubstr(file_.string()), HasSubstr("0 bytes")));
  write(kText.substr(1), 0600);
  EXPECT_THAT(refusal(), HasSubstr("31 bytes"));
  std::filesystem::rename(file_, directory_.path() / "elsewhere");
  std::filesystem::create_symlink(directory_.path() / "elsewhere", file_);
  EXPECT_THAT(refusal(), HasSubstr(file_.string()));
  std::filesystem::remove(file_);
  std::filesystem::create_directory(file_);
  EXPECT_THAT(refusal(), HasSubstr("no regular file"));
  std::filesystem::remove(file_);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  EXPECT_THAT(refusal(), HasSubstr("no regular file"));
}

TEST_F(KeyFile, IsRefusedWhenAStrangerOwnsIt) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root to give files away";
  }
  constexpr uid_t kStranger = 4242;
  constexpr gid_t kGroup = 4243;
  const auto give = [](const std::filesystem::path& path, uid_t user, gid_t group, mode_t mode) {
    ASSERT_EQ(::chown(path.c_str(), user, group), 0);
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  };
  write(kText, 0600);
  give(file_, kStranger, kGroup, 0600);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("user 4242"), HasSubstr(file_.string())));
  give(directory_.path(), kStranger, 0, 0755);
  EXPECT_TRUE(read_key_file(file_)) << "whoever owns the directory could replace it";
  give(directory_.path(), 0, kGroup, 0775);
  EXPECT_TRUE(read_key_file(file_)) << "so could the group";
  give(directory_.path(), 0, kGroup, 0755);
  EXPECT_THAT(refusal(), HasSubstr("user 4242"));
  give(directory_.path(), 0, kGroup, 01777);
  EXPECT_THAT(refusal(), HasSubstr("user 4242")) << "anybody makes files there";
  give(directory_.path(), 0, kGroup + 1, 0775);
  EXPECT_THAT(refusal(), HasSubstr("user 4242")) << "another group's directory";
}

TEST_F(KeyFile, CheckMakesNothingAndComplainsOfWhatIsThere) {
  PortTagOptions options;
  options.key_file = file_;
  EXPECT_TRUE(PortTagKey::check(options));
  EXPECT_THAT(names(), testing::IsEmpty());
  write("short", 0600);
  EXPECT_FALSE(PortTagKey::check(options));
  options.key = kText;
  EXPECT_TRUE(PortTagKey::check(options)) << "the file is not asked";
}

}  // namespace
}  // namespace metatap
