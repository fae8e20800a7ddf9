// SPDX-License-Identifier: Apache-2.0
#include "apps/belongings.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <system_error>

#include "base/log.hpp"
#include "dataplane/own_records.hpp"

namespace metatap::apps {
namespace {

/// The group may make files, and nobody may take away another's.
constexpr mode_t kShared = S_ISVTX | S_IRWXG;
constexpr uid_t kSame = static_cast<uid_t>(-1);

/// The file itself is held while it is looked at and given away: its name is in a directory where
/// others may put something else meanwhile.
void give(const std::filesystem::path& file, uid_t uid, gid_t gid,
          const std::function<bool(const struct stat&)>& which) {
  const UniqueFd fd(::open(file.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat about{};
  if (!fd || ::fstat(fd.get(), &about) != 0 || about.st_uid != 0 || !which(about)) {
    return;
  }
  if (::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) != 0) {
    log::warn("{}: cannot be handed over: errno {}", file.string(), errno);
  }
}

/// A name of a file that others have, too, could be of any file of root's.
bool is_file_of_one_name(const struct stat& about) {
  return S_ISREG(about.st_mode) && about.st_nlink == 1;
}
bool is_socket(const struct stat& about) {
  return S_ISSOCK(about.st_mode);
}

template <class F>
void for_each_entry(const std::filesystem::path& directory, F&& f) {
  std::error_code none;
  for (auto at = std::filesystem::directory_iterator(directory, none);
       !none && at != std::filesystem::directory_iterator(); at.increment(none)) {
    f(at->path());
  }
}

/// Before others may write beside it.
Status make_own_folder(const std::filesystem::path& folder) {
  struct stat about{};
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, "make " + folder.string());
  }
  if (::lstat(folder.c_str(), &about) != 0) {
    return fail_errno(errno, folder.string());
  }
  if (!S_ISDIR(about.st_mode) || about.st_uid != ::geteuid()) {
    return fail(ErrorCode::denied, folder.string() + " is not ours: remove it");
  }
  return {};
}

/// Where the user cannot make it himself. One that is there already is somebody's.
void make_ledger(const std::filesystem::path& directory, const sys::User& user) {
  struct stat parent{};
  if (!directory.empty() && ::stat(directory.parent_path().c_str(), &parent) == 0 &&
      parent.st_uid != user.uid && ::mkdir(directory.c_str(), 0700) == 0) {
    give(directory, user.uid, user.gid, [](const auto& about) { return S_ISDIR(about.st_mode); });
  }
}

}  // namespace

Status give_belongings(const Settings& settings, const sys::User& user) {
  std::error_code told_later;  // what cannot be made is told by whoever writes there
  std::filesystem::create_directories(settings.run_path, told_later);
  if (settings.options.dataplane) {
    if (auto made = make_own_folder(settings.run_path / dataplane::kOwnRecords); !made) {
      return made;
    }
  }
  if (::geteuid() != 0 || user.uid == 0) {
    return {};
  }
  struct stat run{};
  if (::stat(settings.run_path.c_str(), &run) != 0) {
    return fail_errno(errno, settings.run_path.string());
  }
  // A group that somebody gave it stays.
  const gid_t group = run.st_gid == 0 ? user.gid : run.st_gid;
  if (run.st_uid == 0 &&
      (::chown(settings.run_path.c_str(), kSame, group) != 0 ||
       ::chmod(settings.run_path.c_str(), (run.st_mode & ~S_IFMT) | kShared) != 0)) {
    return fail_errno(errno, "share " + settings.run_path.string() + " with " + user.name);
  }
  for_each_entry(settings.run_path,
                 [&](const auto& file) { give(file, user.uid, user.gid, is_socket); });
  give(settings.run_path / "port_tag.key", kSame, group, is_file_of_one_name);

  const auto& state = settings.inventory.state_path;
  std::filesystem::create_directories(state, told_later);
  give(state, user.uid, user.gid, [](const auto& about) { return S_ISDIR(about.st_mode); });
  for_each_entry(state, [&](const auto& file) {
    give(file, user.uid, user.gid,
         [](const auto& about) { return is_socket(about) || is_file_of_one_name(about); });
  });
  make_ledger(settings.proxy.ledger.directory, user);
  return {};
}

}  // namespace metatap::apps
