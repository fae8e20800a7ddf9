// SPDX-License-Identifier: Apache-2.0
#include "sys/file_rights.hpp"

#include <grp.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace metatap::sys {
namespace {

std::vector<gid_t> groups_of(const User& user) {
  int count = 0;
  ::getgrouplist(user.name.c_str(), user.gid, nullptr, &count);
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  ::getgrouplist(user.name.c_str(), user.gid, groups.data(), &count);
  return groups;
}

}  // namespace

void with_files_of(const User& user, const std::function<void()>& run) {
  if (::geteuid() != 0 || user.uid == 0) {
    run();
    return;
  }
  const auto groups = groups_of(user);
  std::thread([&] {
    // The system call is this thread's alone; the library's function would be all threads'.
    ::syscall(SYS_setgroups, groups.size(), groups.data());
    ::setfsgid(user.gid);
    ::setfsuid(user.uid);  // and with it the capabilities to open others' files go
    run();
  }).join();
}

}  // namespace metatap::sys
