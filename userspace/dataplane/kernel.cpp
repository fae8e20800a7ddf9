// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/text.hpp"
#include "dataplane/tc_chain.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/traffic_control.hpp"

namespace metatap::dataplane {
namespace {

constexpr unsigned kLoopback = 1;

struct Helper {
  bpf_func_id id;
  std::string_view phrase;
};
constexpr std::array kHelpers = {
    Helper{BPF_FUNC_skc_lookup_tcp, "finding a listening socket (bpf_skc_lookup_tcp, 5.2)"},
    Helper{BPF_FUNC_tcp_check_syncookie, "checking a SYN cookie (bpf_tcp_check_syncookie, 5.2)"},
    Helper{BPF_FUNC_sk_storage_get, "notes on sockets (bpf_sk_storage_get, 5.2)"},
    Helper{BPF_FUNC_ringbuf_reserve, "ring buffers (bpf_ringbuf_reserve, 5.8)"},
    Helper{BPF_FUNC_redirect_peer, "redirection into a namespace (bpf_redirect_peer, 5.10)"},
};

/// lock *(u64 *)(r10 - 8) += r1, and what was there: r1.
bool has_atomics() {
  const std::array<bpf_insn, 5> code = {
      bpf_insn{BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, -8, 0},
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 1},
      bpf_insn{BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_10, BPF_REG_1, -8, BPF_ADD | BPF_FETCH},
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0},
      bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  const UniqueFd program(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mt_probe", "GPL", code.data(),
                                         code.size(), nullptr));
  return static_cast<bool>(program);
}

Result<std::string> way_to_attach_here() {
  if (kernel_has_tcx()) {
    return std::string("TCX");
  }
  auto tc = sys::TrafficControl::open();
  if (!tc) {
    return tl::make_unexpected(std::move(tc.error()));
  }
  if (auto added = tc->add_ingress_qdisc(kLoopback, "clsact"); !added) {
    return fail(ErrorCode::unsupported,
                fmt::format("{} has neither TCX (6.6) nor a clsact qdisc (CONFIG_NET_SCH_INGRESS): "
                            "{}",
                            kernel_name(), added.error().message));
  }
  return std::string("filters");
}

}  // namespace

std::string kernel_name() {
  utsname name{};
  return ::uname(&name) == 0 ? fmt::format("{} {}", name.sysname, name.release) : "this kernel";
}

std::vector<std::string> missing_in_kernel() {
  if (::libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, nullptr) == 0) {
    return {"TC programs (CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT)"};
  }
  std::vector<std::string> missing;
  for (const auto& helper : kHelpers) {
    if (::libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS, helper.id, nullptr) == 0) {
      missing.emplace_back(helper.phrase);
    }
  }
  if (!has_atomics()) {
    missing.emplace_back("atomic operations that return what was there (5.12)");
  }
  return missing;
}

std::string verifiers_reason(std::string_view log) {
  constexpr std::string_view kBegin = "-- BEGIN PROG LOAD LOG --\n", kStatistics = "\nprocessed ";
  const auto begin = log.rfind(kBegin);
  if (begin == std::string_view::npos) {
    return {};
  }
  log.remove_prefix(begin + kBegin.size());
  log =
      trimmed(log.substr(0, std::min(log.rfind(kStatistics), log.find("-- END PROG LOAD LOG --"))),
              kWhiteSpace);
  return std::string(log.substr(log.rfind('\n') + 1));
}

Error not_loaded(int error, std::string_view said) {
  const auto why = std::generic_category().message(error);
  const auto minimum =
      fmt::format("metatap needs Linux {} or newer, or --steering=listen", kOldestKernel);
  if (const auto missing = missing_in_kernel(); !missing.empty()) {
    return {ErrorCode::unsupported,
            fmt::format("{} does not take the BPF programs ({}): it lacks {}; {}", kernel_name(),
                        why, fmt::join(missing, ", "), minimum)};
  }
  if (const auto reason = verifiers_reason(said); !reason.empty()) {
    return {ErrorCode::unsupported,
            fmt::format("the verifier of {} refuses a BPF program ({}): {}; {}", kernel_name(), why,
                        reason, minimum)};
  }
  return errno_error(error, fmt::format("load the BPF programs into {}", kernel_name()));
}

Result<std::string> way_to_attach() {
  Result<std::string> way;
  std::thread elsewhere([&] {
    if (::unshare(CLONE_NEWNET) != 0) {
      way = fail_errno(errno, "make a network namespace to try in");
    } else {
      way = way_to_attach_here();
    }
  });
  elsewhere.join();
  return way;
}

}  // namespace metatap::dataplane
