// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>

#include "metatap/result.hpp"
#include "sys/users.hpp"

/// How a process gives up what it does not need, for good. All of it is of the calling thread alone
/// and inherited by threads made later: to be called before there is any other.
namespace metatap::sys {

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
