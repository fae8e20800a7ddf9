// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "dataplane/guest_frames.hpp"
#include "dataplane/programs.hpp"
#include "metatap/result.hpp"

struct metatap_dry_bpf;

namespace metatap::dataplane {

/// What became of a frame.
struct DryRunOutcome {
  std::uint32_t reason = 0;  ///< enum mt_reason
  std::uint32_t slot = 0;    ///< whose it was found to be; 0: nobody's
  std::uint32_t mark = 0;    ///< with which it went on
  Frame frame;               ///< as it went on
};

/// The programs as they are attached, compiled once more so that they change nothing (bpf/lib/
/// dry_run.h), on the maps of the live ones: says what would become of a packet without anybody's
/// having sent it. Loading takes some 50 ms; it is gone when this goes.
class DryRun {
 public:
  static Result<DryRun> load(const Programs& live);

  /// As if the frame came in by that device of the calling thread's namespace.
  [[nodiscard]] Result<DryRunOutcome> run(std::string_view program, unsigned ifindex,
                                          const Frame& frame) const;

 private:
  struct Destroy {
    void operator()(metatap_dry_bpf* skeleton) const;
  };
  explicit DryRun(metatap_dry_bpf* skeleton) : skeleton_(skeleton) {}
  std::unique_ptr<metatap_dry_bpf, Destroy> skeleton_;
};

}  // namespace metatap::dataplane
