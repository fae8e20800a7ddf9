// SPDX-License-Identifier: Apache-2.0
#include "sys/lock.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>

namespace metatap::sys {

bool lock(int fd) {
  return ::flock(fd, LOCK_EX | LOCK_NB) == 0;
}

Result<UniqueFd> lock_path(const std::filesystem::path& path, std::string_view option) {
  std::error_code error;
  const int flags = std::filesystem::is_directory(path, error) ? O_RDONLY | O_DIRECTORY
                                                               : O_RDONLY | O_CREAT | O_NOFOLLOW;
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd) {
    return fail_errno(errno, "open " + path.string());
  }
  if (!lock(fd.get())) {
    return fail(ErrorCode::conflict,
                "another metatapd uses " + path.string() + " (" + std::string(option) + ")");
  }
  return fd;
}

}  // namespace metatap::sys
