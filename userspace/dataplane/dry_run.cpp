// SPDX-License-Identifier: Apache-2.0
#include "dataplane/dry_run.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <string>

#include "metatap_dry_bpf.skel.h"

namespace metatap::dataplane {

void DryRun::Destroy::operator()(metatap_dry_bpf* skeleton) const {
  metatap_dry_bpf__destroy(skeleton);
}

Result<DryRun> DryRun::load(const Programs& live) {
  DryRun made(metatap_dry_bpf__open());
  auto* skeleton = made.skeleton_.get();
  if (skeleton == nullptr) {
    return fail_errno(errno, "open the programs for a dry run");
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string_view name = bpf_map__name(map);
    if (!name.starts_with("mt_")) {
      continue;  // the programs' own variables
    }
    if (const int error = bpf_map__reuse_fd(map, live.map(name)); error != 0) {
      return fail_errno(-error, "use " + std::string(name) + " in a dry run");
    }
  }
  if (const int error = metatap_dry_bpf__load(skeleton); error != 0) {
    return fail_errno(-error, "load the programs for a dry run");
  }
  return made;
}

Result<DryRunOutcome> DryRun::run(std::string_view program, unsigned ifindex,
                                  const Frame& frame) const {
  const auto* found =
      bpf_object__find_program_by_name(skeleton_->obj, std::string(program).c_str());
  if (found == nullptr) {
    return fail(ErrorCode::internal, "no program " + std::string(program));
  }
  constexpr std::size_t kGrowth = 64;  // of a solicitation that becomes an answer
  DryRunOutcome outcome;
  outcome.frame.resize(frame.size() + kGrowth);
  __sk_buff before{}, after{};
  before.ifindex = ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = outcome.frame.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()),
              .data_size_out = static_cast<std::uint32_t>(outcome.frame.size()), .ctx_in = &before,
              .ctx_out = &after, .ctx_size_in = sizeof(before), .ctx_size_out = sizeof(after));
  if (const int error = ::bpf_prog_test_run_opts(bpf_program__fd(found), &options); error != 0) {
    return fail_errno(-error, "a dry run of " + std::string(program));
  }
  if (after.cb[MT_DRY_RUN_REASON] == 0) {
    return fail(ErrorCode::internal, std::string(program) + " did not say why it left");
  }
  outcome.frame.resize(options.data_size_out);
  outcome.reason = after.cb[MT_DRY_RUN_REASON] - 1;
  outcome.slot = after.cb[MT_DRY_RUN_SLOT];
  outcome.mark = after.mark;
  return outcome;
}

}  // namespace metatap::dataplane
