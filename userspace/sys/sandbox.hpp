// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

/// How a process gives up what it does not need, for good. All of it is of the calling thread alone
/// and inherited by threads made later: to be called before there is any other.
namespace metatap::sys {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// ErrorCode::not_found: there is no such user.
[[nodiscard]] Result<User> find_user(std::string_view name);

/// This process is that user's, with the user's groups, without any capability (effective,
/// bounding, ambient), and cannot have more again (no_new_privs). Who is no root keeps being who it
/// is. ErrorCode::denied: we may not change users.
[[nodiscard]] Status become_unprivileged(const User& user);

/// From now on we, and our children, see nothing in these folders, whatever comes to be there. What
/// else the machine mounts and unmounts is still seen. Needs CAP_SYS_ADMIN; ErrorCode::denied.
[[nodiscard]] Status hide(std::initializer_list<const char*> folders);

/// Only system calls that a server of files and sockets needs; of sockets only streams and
/// datagrams of UNIX, IPv4 and IPv6. Anything else is EPERM: no namespace, no bpf(2), no raw
/// socket, no other program.
[[nodiscard]] Status restrict_system_calls();

}  // namespace metatap::sys
