// SPDX-License-Identifier: Apache-2.0
#include "sys/netns.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "base/log.hpp"

#ifndef NSFS_MAGIC
#define NSFS_MAGIC 0x6e736673
#endif

namespace metatap::sys {
namespace {

namespace fs = std::filesystem;

fs::path named_path(std::string_view name) {
  return fs::path(kNamedNamespaces) / name;
}

Status check_name(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.size() > 255) {
    return fail(ErrorCode::invalid,
                "namespace name \"" + std::string(name) + "\": must be a plain file name");
  }
  return {};
}

/// As iproute2 does it: the directory is a shared mount point, so that names appear in other
/// mount namespaces too.
Status prepare_directory() {
  const std::string directory(kNamedNamespaces);
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno(errno, "create " + directory);
  }
  if (::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0) {
    return {};
  }
  if (errno != EINVAL) {
    return fail_errno(errno, "make " + directory + " a shared mount");
  }
  if (::mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) != 0 ||
      ::mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) != 0) {
    return fail_errno(errno, "make " + directory + " a shared mount");
  }
  return {};
}

/// Whether what is mounted here is seen nowhere else, while what the host mounts is seen here: as
/// in a service that systemd gave a mount namespace of its own. Told by the mount that `directory`
/// is on.
bool only_follows_the_host(const std::string& directory) {
  std::ifstream mounts("/proc/thread-self/mountinfo");
  bool follows = false;
  for (std::string line; std::getline(mounts, line);) {
    // "36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 …": the last match is the topmost.
    std::istringstream words(line);
    std::string skipped, point;
    words >> skipped >> skipped >> skipped >> skipped >> point;
    if (point == "/" || (directory + "/").starts_with(point + "/")) {
      follows = line.substr(0, line.find(" - ")).find(" master:") != std::string::npos;
    }
  }
  return follows;
}

/// For a thread that ends soon.
Status enter_mounts_of_the_host() {
  const UniqueFd host(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!host || ::unshare(CLONE_FS) != 0 || ::setns(host.get(), CLONE_NEWNS) != 0) {
    return fail_errno(errno, "enter the host's mount namespace");
  }
  return {};
}

/// Runs `f` on a thread of its own, for which a mount is one that the whole host sees.
template <class F>
Status among_mounts_of_the_host(F&& f) {
  Status result = fail(ErrorCode::internal, "helper thread did not run");
  std::thread([&] {
    if (only_follows_the_host(std::string(kNamedNamespaces))) {
      if (const auto entered = enter_mounts_of_the_host(); !entered) {
        log::warn("names of namespaces are seen by this process alone: {}",
                  entered.error().message);
      }
    }
    result = f();
  }).join();
  return result;
}

/// Mounts the calling thread's network namespace at `path`.
Status pin_own(const fs::path& path) {
  if (auto ready = prepare_directory(); !ready) {
    return ready;
  }
  // A plain file of that name is a leftover: a namespace mounted there would have been opened.
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0444));
  if (!file) {
    return fail_errno(errno, "create " + path.string());
  }
  if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) != 0) {
    const int error = errno;
    ::unlink(path.c_str());
    return fail_errno(error, "mount namespace at " + path.string());
  }
  return {};
}

bool is_namespace(int fd) {
  struct statfs stats{};
  return ::fstatfs(fd, &stats) == 0 && static_cast<unsigned long>(stats.f_type) == NSFS_MAGIC;
}

}  // namespace

Result<NetNamespace> NetNamespace::open_path(const fs::path& path, std::string name) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return fail_errno(errno, "open namespace " + name);
  }
  if (!is_namespace(fd.get())) {
    return fail(ErrorCode::not_found, "open namespace " + name + ": " + path.string() +
                                          " is not a namespace (being made, or left over)");
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return fail_errno(errno, "open namespace " + name);
  }
  return NetNamespace(std::move(fd), std::move(name), Id{info.st_dev, info.st_ino});
}

Result<NetNamespace> NetNamespace::open(std::string_view name_or_path) {
  if (name_or_path.find('/') != std::string_view::npos) {
    return open_path(fs::path(name_or_path), std::string(name_or_path));
  }
  if (auto ok = check_name(name_or_path); !ok) {
    return tl::make_unexpected(std::move(ok.error()));
  }
  return open_path(named_path(name_or_path), std::string(name_or_path));
}

Result<NetNamespace> NetNamespace::current() {
  return open_path("/proc/thread-self/ns/net", "(own)");
}

Result<NetNamespace> NetNamespace::create_named(std::string_view name) {
  if (auto ok = check_name(name); !ok) {
    return tl::make_unexpected(std::move(ok.error()));
  }
  if (auto existing = open(name)) {
    return existing;
  }
  const auto path = named_path(name);
  auto made = among_mounts_of_the_host([&]() -> Status {
    return ::unshare(CLONE_NEWNET) != 0 ? fail_errno(errno, "create a network namespace")
                                        : pin_own(path);
  });
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  return open(name);
}

Status NetNamespace::delete_named(std::string_view name) {
  if (auto ok = check_name(name); !ok) {
    return ok;
  }
  const auto path = named_path(name);
  return among_mounts_of_the_host([&]() -> Status {
    if (::umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) {
      return fail_errno(errno, "unmount " + path.string());
    }
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      return fail_errno(errno, "remove " + path.string());
    }
    return {};
  });
}

bool NetNamespace::has_name() const {
  const auto named = open(name_);
  return named && named->id() == id_;
}

Status NetNamespace::restore_name() const {
  if (const auto named = open(name_)) {
    return named->id() == id_
               ? Status()
               : fail(ErrorCode::conflict, "another namespace has the name " + name_ + " by now");
  }
  return among_mounts_of_the_host([&]() -> Status {
    auto entered = enter();
    return entered ? pin_own(named_path(name_)) : entered;
  });
}

Result<std::vector<std::string>> NetNamespace::names() {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(fs::path(kNamedNamespaces), error), end; !error && it != end;
       it.increment(error)) {
    found.push_back(it->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail_errno(error.value(), "list " + std::string(kNamedNamespaces));
  }
  std::ranges::sort(found);
  return found;
}

Status NetNamespace::enter() const {
  if (::setns(fd_.get(), CLONE_NEWNET) != 0) {
    return fail_errno(errno, "enter namespace " + name_);
  }
  return {};
}

}  // namespace metatap::sys
