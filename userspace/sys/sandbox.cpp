// SPDX-License-Identifier: Apache-2.0
#include "sys/sandbox.hpp"

#include <cap-ng.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace metatap::sys {
namespace {

// ---- system calls ----

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "which calls does a server need on this architecture?"
#endif

/// The busiest first. Kernels from 5.11 on remember the answers, older ones walk the list.
constexpr long kAllowed[] = {
    // the life of a request
    __NR_epoll_pwait,
    __NR_recvmsg,
    __NR_sendmsg,
    __NR_read,
    __NR_write,
    __NR_readv,
    __NR_writev,
    __NR_accept4,
    __NR_close,
    __NR_recvfrom,
    __NR_sendto,
    __NR_epoll_ctl,
    __NR_getsockopt,
    __NR_setsockopt,
    __NR_futex,
    __NR_ppoll,
    __NR_connect,
    __NR_shutdown,
    __NR_getrandom,
    __NR_clock_gettime,
    __NR_timerfd_settime,
#ifdef __NR_epoll_wait
    __NR_epoll_wait,
    __NR_poll,
#endif
    // memory and threads
    __NR_brk,
    __NR_mmap,
    __NR_munmap,
    __NR_mremap,
    __NR_mprotect,
    __NR_madvise,
    __NR_membarrier,
    __NR_set_robust_list,
    __NR_get_robust_list,
    __NR_sched_yield,
    __NR_sched_getaffinity,
    __NR_set_tid_address,
    __NR_gettid,
    __NR_nanosleep,
    __NR_clock_nanosleep,
    __NR_exit,
    __NR_exit_group,
    __NR_rt_sigaction,
    __NR_rt_sigprocmask,
    __NR_rt_sigreturn,
    __NR_rt_sigtimedwait,
    __NR_sigaltstack,
    __NR_restart_syscall,
    __NR_tgkill,
    __NR_prctl,
#ifdef __NR_rseq
    __NR_rseq,
#endif
#ifdef __NR_arch_prctl
    __NR_arch_prctl,
#endif
    // sockets and events
    __NR_accept,
    __NR_bind,
    __NR_listen,
    __NR_socketpair,
    __NR_getsockname,
    __NR_getpeername,
    __NR_recvmmsg,
    __NR_sendmmsg,
    __NR_epoll_create1,
    __NR_eventfd2,
    __NR_timerfd_create,
    __NR_timerfd_gettime,
    __NR_pipe2,
    __NR_pselect6,
    __NR_ioctl,
    __NR_fcntl,
    __NR_dup,
    __NR_dup3,
#ifdef __NR_select
    __NR_select,
    __NR_dup2,
    __NR_pipe,
#endif
    // files: the database, the inventory, sockets' names
    __NR_openat,
    __NR_newfstatat,
    __NR_fstat,
    __NR_statfs,
    __NR_fstatfs,
    __NR_statx,
    __NR_lseek,
    __NR_pread64,
    __NR_pwrite64,
    __NR_preadv,
    __NR_pwritev,
    __NR_ftruncate,
    __NR_truncate,
    __NR_fallocate,
    __NR_fsync,
    __NR_fdatasync,
    __NR_sync_file_range,
    __NR_flock,
    __NR_getdents64,
    __NR_getcwd,
    __NR_faccessat,
    __NR_mkdirat,
    __NR_unlinkat,
    __NR_renameat,
    __NR_linkat,
    __NR_symlinkat,
    __NR_readlinkat,
    __NR_fchmod,
    __NR_fchmodat,
    __NR_fchown,
    __NR_fchownat,
    __NR_utimensat,
    __NR_umask,
    __NR_memfd_create,
    __NR_fadvise64,
    __NR_sendfile,
    __NR_inotify_init1,
    __NR_inotify_add_watch,
    __NR_inotify_rm_watch,
    __NR_renameat2,
#ifdef __NR_faccessat2
    __NR_faccessat2,
#endif
#ifdef __NR_open
    __NR_open,
    __NR_stat,
    __NR_lstat,
    __NR_access,
    __NR_mkdir,
    __NR_rmdir,
    __NR_unlink,
    __NR_rename,
    __NR_link,
    __NR_symlink,
    __NR_readlink,
    __NR_chmod,
    __NR_chown,
    __NR_lchown,
    __NR_creat,
#endif
    // who and what we are
    __NR_getpid,
    __NR_getppid,
    __NR_getuid,
    __NR_geteuid,
    __NR_getgid,
    __NR_getegid,
    __NR_getresuid,
    __NR_getresgid,
    __NR_getgroups,
    __NR_getpgid,
    __NR_getsid,
    __NR_uname,
    __NR_sysinfo,
    __NR_getrusage,
    __NR_times,
    __NR_prlimit64,
    __NR_gettimeofday,
    __NR_clock_getres,
    __NR_capget,
#ifdef __NR_time
    __NR_time,
    __NR_getrlimit,
    __NR_getpgrp,
#endif
};

using Program = std::vector<sock_filter>;

void statement(Program& program, unsigned code, std::uint32_t value) {
  program.push_back({static_cast<std::uint16_t>(code), 0, 0, value});
}
void jump(Program& program, unsigned code, std::uint32_t value, std::uint8_t if_so,
          std::uint8_t if_not) {
  program.push_back({static_cast<std::uint16_t>(BPF_JMP | code | BPF_K), if_so, if_not, value});
}
void load(Program& program, std::size_t offset) {
  statement(program, BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
void answer(Program& program, std::uint32_t action) {
  statement(program, BPF_RET | BPF_K, action);
}

constexpr std::uint32_t error(int number) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(number);
}

/// The low half of a call's argument; the processors that we know are little-endian.
constexpr std::size_t argument(unsigned index) {
  return offsetof(seccomp_data, args) + index * sizeof(std::uint64_t);
}

/// socket(family, type): the number is loaded.
void allow_plain_sockets(Program& program) {
  constexpr std::uint32_t kTypeMask = 0xf;
  jump(program, BPF_JEQ, __NR_socket, 0, 10);
  load(program, argument(0));
  jump(program, BPF_JEQ, AF_UNIX, 3, 0);
  jump(program, BPF_JEQ, AF_INET, 2, 0);
  jump(program, BPF_JEQ, AF_INET6, 1, 0);
  answer(program, error(EAFNOSUPPORT));
  load(program, argument(1));
  statement(program, BPF_ALU | BPF_AND | BPF_K, kTypeMask);
  jump(program, BPF_JEQ, SOCK_STREAM, 1, 0);
  jump(program, BPF_JEQ, SOCK_DGRAM, 0, 1);
  answer(program, SECCOMP_RET_ALLOW);
  // Falls out with something loaded that is no call's number: SOCK_RAW, SOCK_SEQPACKET, ….
}

/// clone(flags): threads, and nothing that has a namespace of its own. clone3() has its flags where
/// a filter cannot look; the C library does without it.
void allow_threads(Program& program) {
  constexpr std::uint32_t kNamespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                        CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
  jump(program, BPF_JEQ, __NR_clone3, 0, 1);
  answer(program, error(ENOSYS));
  jump(program, BPF_JEQ, __NR_clone, 0, 4);
  load(program, argument(0));
  jump(program, BPF_JSET, kNamespaces, 1, 0);
  answer(program, SECCOMP_RET_ALLOW);
  answer(program, error(EPERM));
}

Program program_of_calls() {
  Program program;
  load(program, offsetof(seccomp_data, arch));
  jump(program, BPF_JEQ, kArchitecture, 1, 0);
  answer(program, error(EPERM));
  load(program, offsetof(seccomp_data, nr));
  for (const long call : kAllowed) {
    jump(program, BPF_JEQ, static_cast<std::uint32_t>(call), 0, 1);
    answer(program, SECCOMP_RET_ALLOW);
  }
  allow_threads(program);
  allow_plain_sockets(program);
  answer(program, error(EPERM));
  return program;
}

}  // namespace

Status become_unprivileged(const User& user) {
  constexpr auto kStep = "give up capabilities";
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return fail_errno(errno, "set no_new_privs");
  }
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    // Without CAP_SETPCAP it stays, and means nothing: there are no new privileges.
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EPERM) {
      return fail_errno(errno, kStep);
    }
  }
  if (::geteuid() == 0 && user.uid != 0 &&
      (::initgroups(user.name.c_str(), user.gid) != 0 ||
       ::setresgid(user.gid, user.gid, user.gid) != 0 ||
       ::setresuid(user.uid, user.uid, user.uid) != 0)) {
    return fail_errno(errno, "become user " + user.name);
  }
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
    return fail_errno(errno, kStep);
  }
  capng_get_caps_process();
  if (capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE) {
    return {};  // a unit of systemd's has none, and may not even say so
  }
  capng_clear(CAPNG_SELECT_CAPS);
  if (capng_apply(CAPNG_SELECT_CAPS) != 0) {
    return fail_errno(errno, kStep);
  }
  return {};
}

Status hide(std::initializer_list<const char*> folders) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) {
    return fail_errno(errno, "see the machine's files apart");
  }
  for (const char* folder : folders) {
    struct stat about{};
    if (::stat(folder, &about) != 0) {
      continue;
    }
    // What is mounted there would be kept alive by our view of it.
    while (::umount2(folder, MNT_DETACH) == 0) {
    }
    if (::mount("none", folder, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                "size=4k,mode=0000") != 0) {
      return fail_errno(errno, "hide " + std::string(folder));
    }
  }
  return {};
}

Status restrict_system_calls() {
  auto program = program_of_calls();
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) {
    return fail_errno(errno, "restrict system calls");
  }
  return {};
}

}  // namespace metatap::sys
