// SPDX-License-Identifier: Apache-2.0
#include "base/scratch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace metatap {

Result<Scratch> Scratch::file(const std::filesystem::path& target) {
  std::string name = target.string() + ".XXXXXX";
  UniqueFd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) {
    return fail_errno(errno, "write " + target.string());
  }
  return Scratch(std::move(name), std::move(fd));
}

Result<Scratch> Scratch::directory() {
  std::string name = (std::filesystem::temp_directory_path() / "metatap-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    return fail_errno(errno, "make a temporary directory");
  }
  return Scratch(std::move(name), UniqueFd());
}

Scratch::~Scratch() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

Status Scratch::keep_as(const std::filesystem::path& target) {
  if (::rename(path_.c_str(), target.c_str()) != 0) {
    return fail_errno(errno, "write " + target.string());
  }
  path_.clear();
  return {};
}

Status replace_file(const std::filesystem::path& file, std::string_view text) {
  auto scratch = Scratch::file(file);
  if (!scratch) {
    return tl::make_unexpected(std::move(scratch.error()));
  }
  const int fd = scratch->fd.get();
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      return fail_errno(errno, "write " + file.string());
    }
    text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
  struct stat before{};
  if (::stat(file.c_str(), &before) == 0) {
    // Of root's file only root gives the owner; the mode goes after it, which may take bits away.
    static_cast<void>(::fchown(fd, before.st_uid, before.st_gid) == 0);
    if (::fchmod(fd, before.st_mode & 07777U) != 0) {
      return fail_errno(errno, "write " + file.string());
    }
  }
  if (::fsync(fd) != 0) {
    return fail_errno(errno, "write " + file.string());
  }
  return scratch->keep_as(file);
}

}  // namespace metatap
