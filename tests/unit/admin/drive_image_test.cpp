// SPDX-License-Identifier: Apache-2.0
#include "admin/drive_image.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "unit/inventory/temporary_directory.hpp"

namespace metatap::admin {
namespace {

using testing::HasSubstr;

/// What a command prints; the images are read back by the tools a guest's owner has.
std::string output_of(const std::string& command) {
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer{};
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    text.append(buffer.data(), got);
  }
  ::pclose(pipe);
  return text;
}

bool installed(const std::string& program) {
  return !output_of("PATH=$PATH:/usr/sbin command -v " + program).empty();
}

class DriveImage : public testing::Test {
 protected:
  static std::vector<ImageFile> files() {
    std::string binary;
    for (int i = 0; i < 5000; ++i) {  // more than two sectors
      binary.push_back(static_cast<char>(i * 7));
    }
    return {{"ec2/2009-04-04/meta-data.json", "{}"},
            {"openstack/latest/meta_data.json", R"({"a": "ü"})"},
            {"openstack/latest/user_data", ""},
            {"openstack/2025-04-04/vendor_data2.json", "{\"x\": 1}"},
            {"openstack/content/0000", binary}};
  }
  void write(ImageFormat format) const {
    const auto status = write_image(format, "config-2", files(), image_);
    ASSERT_TRUE(status) << status.error().message;
    struct stat file{};
    ASSERT_EQ(::stat(image_.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777U, 0600U);
  }

  TemporaryDirectory directory_;
  std::filesystem::path image_ = directory_.path() / "disk.config";
};

TEST_F(DriveImage, Iso9660IsReadByItsTools) {
  if (!installed("isoinfo")) {
    GTEST_SKIP() << "isoinfo (package genisoimage) is not installed";
  }
  write(ImageFormat::iso9660);
  const auto header = output_of("isoinfo -d -i " + image_.string());
  EXPECT_THAT(header, HasSubstr("Volume id: config-2\n"));
  EXPECT_THAT(header, HasSubstr("Joliet"));
  EXPECT_THAT(header, HasSubstr("Rock Ridge"));
  EXPECT_THAT(output_of("isoinfo -d -J -i " + image_.string()), HasSubstr("Volume id: config-2\n"));
  for (const auto* names : {"-R", "-J"}) {
    for (const auto& file : files()) {
      EXPECT_TRUE(output_of(std::string("isoinfo ") + names + " -i " + image_.string() + " -x /" +
                            file.path) == file.contents)
          << names << " " << file.path;
    }
  }
  EXPECT_THAT(output_of("isoinfo -R -l -i " + image_.string()), HasSubstr("-r--r--r--"));
}

TEST_F(DriveImage, VfatIsReadByItsTools) {
  if (!installed("mkfs.vfat") || !installed("mcopy") || !installed("mdir")) {
    GTEST_SKIP() << "mkfs.vfat (package dosfstools) or mtools are not installed";
  }
  write(ImageFormat::vfat);
  EXPECT_EQ(std::filesystem::file_size(image_), 64U << 20U);
  EXPECT_THAT(output_of("mdir -i " + image_.string() + " ::/openstack"), HasSubstr("content"));
  EXPECT_THAT(output_of("mlabel -s -i " + image_.string() + " ::"), HasSubstr("config-2"));
  for (const auto& file : files()) {
    EXPECT_TRUE(output_of("mtype -i " + image_.string() + " ::/" + file.path) == file.contents)
        << file.path;
  }
}

TEST_F(DriveImage, LeavesNothingBehindWhenItFails) {
  for (const auto* path : {"../x", "/x", "a/../../x", "", "a/"}) {
    EXPECT_FALSE(write_image(ImageFormat::iso9660, "config-2", {{path, "x"}}, image_)) << path;
  }
  EXPECT_FALSE(
      write_image(ImageFormat::iso9660, "config-2", files(), directory_.path() / "none" / "image"));
  if (installed("mkfs.vfat") && installed("mcopy")) {
    const auto full = write_image(
        ImageFormat::vfat, "config-2",
        {{"a", std::string(40U << 20U, 'x')}, {"b", std::string(40U << 20U, 'x')}}, image_);
    ASSERT_FALSE(full);
    EXPECT_THAT(full.error().message, HasSubstr("mcopy"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

}  // namespace
}  // namespace metatap::admin
