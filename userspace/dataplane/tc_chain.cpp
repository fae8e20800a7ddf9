// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tc_chain.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>

namespace metatap::dataplane {
namespace {

// TCX is newer (6.6) than Debian 12's <linux/bpf.h> and libbpf: its constants, and the commands'
// attributes as far as it uses them. The assertions tie them to what that header does have.
constexpr std::uint32_t kTcxIngress = 46, kTcxEgress = 47;  // BPF_TCX_INGRESS, BPF_TCX_EGRESS
constexpr std::uint32_t kBefore = 1U << 3;                  // BPF_F_BEFORE; of nobody: first of all
constexpr std::size_t kMostPrograms = 64;                   // BPF_MPROG_MAX

struct LinkCreate {
  std::uint32_t program_fd, ifindex, attach_type, flags;
  std::uint32_t relative_id, padding;
  std::uint64_t expected_revision;
};
static_assert(offsetof(LinkCreate, ifindex) == offsetof(bpf_attr, link_create.target_ifindex));
static_assert(offsetof(LinkCreate, flags) == offsetof(bpf_attr, link_create.flags));
static_assert(offsetof(LinkCreate, relative_id) == offsetof(bpf_attr, link_create.target_btf_id));
static_assert(offsetof(LinkCreate, expected_revision) == 24);

struct Query {
  std::uint32_t ifindex, attach_type, query_flags, attach_flags;
  std::uint64_t program_ids;
  std::uint32_t count, padding;
  std::uint64_t program_flags, link_ids, link_flags, revision;
};
static_assert(offsetof(Query, query_flags) == offsetof(bpf_attr, query.query_flags));
static_assert(offsetof(Query, program_ids) == offsetof(bpf_attr, query.prog_ids));
static_assert(offsetof(Query, count) == offsetof(bpf_attr, query.prog_cnt));
static_assert(offsetof(Query, link_ids) == 40);

template <class Attributes>
int bpf(bpf_cmd command, Attributes& attributes) {
  return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof(attributes)));
}

std::uint32_t type_of(TcSide side) {
  return side == TcSide::ingress ? kTcxIngress : kTcxEgress;
}

std::string name_of_program(std::uint32_t id) {
  const UniqueFd program(::bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  if (!program || ::bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0 ||
      info.name[0] == '\0') {
    return "a program";
  }
  return info.name;
}

}  // namespace

bool kernel_has_tcx() {
  // Asked of the loopback device: it is in every namespace, as number 1.
  Query query{};
  query.ifindex = 1;
  query.attach_type = kTcxIngress;
  return bpf(BPF_PROG_QUERY, query) == 0;
}

Result<std::vector<TcxProgram>> tcx_programs(unsigned ifindex, TcSide side) {
  std::array<std::uint32_t, kMostPrograms> programs{}, links{};
  Query query{};
  query.ifindex = ifindex;
  query.attach_type = type_of(side);
  query.program_ids = reinterpret_cast<std::uintptr_t>(programs.data());
  query.link_ids = reinterpret_cast<std::uintptr_t>(links.data());
  query.count = kMostPrograms;
  if (bpf(BPF_PROG_QUERY, query) != 0) {
    return fail_errno(errno, fmt::format("list TCX programs of link {}", ifindex));
  }
  std::vector<TcxProgram> found;
  for (std::size_t at = 0; at < query.count && at < kMostPrograms; ++at) {
    found.push_back({programs[at], links[at]});
  }
  return found;
}

Result<UniqueFd> attach_tcx_first(int program_fd, unsigned ifindex, TcSide side) {
  LinkCreate create{};
  create.program_fd = static_cast<std::uint32_t>(program_fd);
  create.ifindex = ifindex;
  create.attach_type = type_of(side);
  create.flags = kBefore;
  UniqueFd link(bpf(BPF_LINK_CREATE, create));
  if (!link) {
    return fail_errno(errno, fmt::format("attach by TCX to link {}", ifindex));
  }
  return link;
}

std::uint32_t id_of_link(int link_fd) {
  bpf_link_info info{};
  std::uint32_t size = sizeof(info);
  return ::bpf_obj_get_info_by_fd(link_fd, &info, &size) == 0 ? info.id : 0;
}

std::uint32_t id_of_program(int program_fd) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  return ::bpf_obj_get_info_by_fd(program_fd, &info, &size) == 0 ? info.id : 0;
}

std::string text_of(const TcxProgram& program) {
  return fmt::format("{} (id {})", name_of_program(program.program_id), program.program_id);
}

std::string text_of(const sys::TcFilter& filter) {
  if (filter.program_id != 0) {
    return fmt::format("{} (id {}, pref {})", name_of_program(filter.program_id), filter.program_id,
                       filter.priority);
  }
  return fmt::format("{} filter (pref {})", filter.kind, filter.priority);
}

}  // namespace metatap::dataplane
