// SPDX-License-Identifier: Apache-2.0
#include "sys/bpffs.hpp"

#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

namespace metatap::sys {
namespace {

bool on_bpffs(const std::filesystem::path& path) {
  struct statfs stats{};
  return ::statfs(path.c_str(), &stats) == 0 &&
         static_cast<unsigned long>(stats.f_type) == BPF_FS_MAGIC;
}

}  // namespace

Status ensure_bpffs(const std::filesystem::path& path) {
  static const std::filesystem::path kRoot = "/sys/fs/bpf";
  const bool below_root = path.native().starts_with(kRoot.native());
  if (below_root && !on_bpffs(kRoot) && ::mount("bpf", kRoot.c_str(), "bpf", 0, "mode=0700") != 0) {
    return fail_errno(errno, "mount the BPF filesystem at " + kRoot.string());
  }
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return fail_errno(error.value(), "create " + path.string());
  }
  if (!on_bpffs(path)) {
    return fail(ErrorCode::invalid, path.string() + " is not on a BPF filesystem (mount -t bpf)");
  }
  return {};
}

}  // namespace metatap::sys
