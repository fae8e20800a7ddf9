// SPDX-License-Identifier: Apache-2.0
#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <utility>

#include "metatap/unique_fd.hpp"

namespace metatap {

Result<std::string> read_file(const std::filesystem::path& path, std::size_t longest) {
  const auto too_long = [&] {
    return fail(ErrorCode::invalid,
                path.string() + ": it is longer than " + std::to_string(longest) + " bytes");
  };
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat info{};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    return fail_errno(errno, "open " + path.string());
  }
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorCode::invalid, "open " + path.string() + ": it is no regular file");
  }
  if (std::cmp_greater(info.st_size, longest)) {
    return too_long();
  }
  constexpr std::size_t kRoom = 65536;  // it may grow while it is read
  std::string text;
  for (std::size_t size = 0;;) {
    if (size == text.size()) {
      text.resize(size + (size == 0 ? static_cast<std::size_t>(info.st_size) : 0) + kRoom);
    }
    const auto got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno != EINTR) {
      return fail_errno(errno, "read " + path.string());
    }
    if (got == 0) {
      text.resize(size);
      return text;
    }
    size += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
    if (size > longest) {
      return too_long();
    }
  }
}

}  // namespace metatap
