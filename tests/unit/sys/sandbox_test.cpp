// SPDX-License-Identifier: Apache-2.0
#include "sys/sandbox.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace metatap::sys {
namespace {

/// Whether `check` is true in a process of its own that has given up its rights: as the user that
/// it is, which needs no root.
bool holds_in_the_sandbox(const std::function<bool()>& check) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const User self{"self", ::getuid(), ::getgid()};
    ::_exit(become_unprivileged(self) && restrict_system_calls() && check() ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool refused(long result, int error = EPERM) {
  return result < 0 && errno == error;
}

TEST(Sandbox, WhatAServerNeedsIsThere) {
  EXPECT_TRUE(holds_in_the_sandbox([] {
    bool ran = false;
    std::thread([&] { ran = true; }).join();
    const int tcp = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int udp = ::socket(AF_INET6, SOCK_DGRAM, 0);
    const int local = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const int file = ::open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    char byte = 0;
    return ran && tcp >= 0 && udp >= 0 && local >= 0 && file >= 0 && ::read(file, &byte, 1) == 1 &&
           ::listen(tcp, 1) == 0;
  }));
}

TEST(Sandbox, ANamespaceIsNot) {
  EXPECT_TRUE(holds_in_the_sandbox([] { return refused(::unshare(CLONE_NEWNET)); }));
  EXPECT_TRUE(holds_in_the_sandbox([] { return refused(::unshare(CLONE_NEWUSER)); }));
  EXPECT_TRUE(holds_in_the_sandbox([] {
    const int own = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return refused(::setns(own, CLONE_NEWNET));
  }));
  EXPECT_TRUE(holds_in_the_sandbox(
      [] { return refused(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }));
  EXPECT_TRUE(holds_in_the_sandbox([] { return refused(::syscall(SYS_clone3, 0, 0), ENOSYS); }));
  EXPECT_TRUE(
      holds_in_the_sandbox([] { return refused(::mount("none", "/mnt", "tmpfs", 0, nullptr)); }));
}

TEST(Sandbox, ARawSocketIsNot) {
  EXPECT_TRUE(holds_in_the_sandbox([] { return refused(::socket(AF_INET, SOCK_RAW, 6)); }));
  EXPECT_TRUE(holds_in_the_sandbox(
      [] { return refused(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, 58)); }));
  for (const int family : {AF_PACKET, AF_NETLINK, AF_VSOCK, AF_ALG, AF_BLUETOOTH}) {
    EXPECT_TRUE(holds_in_the_sandbox([&] {
      return refused(::socket(family, SOCK_RAW, 0), EAFNOSUPPORT);
    })) << family;
    EXPECT_TRUE(holds_in_the_sandbox([&] {
      return refused(::socket(family, SOCK_DGRAM, 0), EAFNOSUPPORT);
    })) << family;
  }
}

TEST(Sandbox, BpfOtherProgramsAndOtherProcessesAreNot) {
  EXPECT_TRUE(holds_in_the_sandbox([] {
    bpf_attr attributes{};
    return refused(::syscall(SYS_bpf, BPF_OBJ_GET, &attributes, sizeof(attributes)));
  }));
  EXPECT_TRUE(holds_in_the_sandbox([] {
    const char* const none[] = {nullptr};
    return refused(::execve("/bin/true", const_cast<char**>(none), const_cast<char**>(none)));
  }));
  EXPECT_TRUE(holds_in_the_sandbox(
      [] { return refused(::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr)); }));
  EXPECT_TRUE(holds_in_the_sandbox([] { return refused(::kill(::getppid(), SIGCONT)); }));
  for (const long call : {SYS_keyctl, SYS_perf_event_open, SYS_io_uring_setup, SYS_process_vm_readv,
                          SYS_open_by_handle_at, SYS_init_module, SYS_userfaultfd, SYS_chroot,
                          SYS_pidfd_getfd, SYS_setuid, SYS_capset}) {
    EXPECT_TRUE(holds_in_the_sandbox([&] { return refused(::syscall(call, 0, 0, 0, 0, 0)); }))
        << call;
  }
}

TEST(Sandbox, NoCapabilityIsLeftOrToBeHad) {
  EXPECT_TRUE(holds_in_the_sandbox([] {
    return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
           ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 21, 0, 0) == 0;
  }));
}

TEST(Sandbox, AnUnknownUserIsNotFound) {
  const auto user = find_user("nobody-of-that-name");
  ASSERT_FALSE(user);
  EXPECT_EQ(user.error().code, ErrorCode::not_found);
  EXPECT_EQ(find_user("root")->uid, 0U);
}

}  // namespace
}  // namespace metatap::sys
