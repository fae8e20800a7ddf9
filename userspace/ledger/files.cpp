// SPDX-License-Identifier: Apache-2.0
#include "ledger/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>
#include <string_view>

#include "metatap/unique_fd.hpp"

namespace metatap::ledger {
namespace {

struct Close {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

std::string file_name(std::uint64_t first_record) {
  return fmt::format("access-{:012}.jsonl", first_record);
}

Result<std::vector<std::uint64_t>> files_in(int directory) {
  constexpr std::string_view kBefore = "access-";
  // A descriptor of its own: reading a directory moves the place in it.
  UniqueFd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, Close> entries(fd ? ::fdopendir(fd.get()) : nullptr);
  if (!entries) {
    return fail_errno(errno, "list the ledger");
  }
  static_cast<void>(fd.release());
  std::vector<std::uint64_t> files;
  while (const auto* const entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    std::uint64_t first = 0;
    if (name.starts_with(kBefore)) {
      std::from_chars(name.data() + kBefore.size(), name.data() + name.size(), first);
    }
    if (first != 0 && name == file_name(first)) {
      files.push_back(first);
    }
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace metatap::ledger
