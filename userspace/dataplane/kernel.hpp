// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::dataplane {

/// The oldest kernel that the programs are known to load on: docs/kernels.md.
inline constexpr std::string_view kOldestKernel = "6.1";

/// "Linux 6.1.0-55-amd64"
[[nodiscard]] std::string kernel_name();

/// What the programs use and this kernel does not have, each as a phrase with the version that
/// brought it; empty: nothing is missing. Asks the kernel for each in turn; needs the rights to
/// load programs.
[[nodiscard]] std::vector<std::string> missing_in_kernel();

/// The verifier's reason to refuse a program: the last thing in its log, before its statistics.
/// Empty: there is no log.
[[nodiscard]] std::string verifiers_reason(std::string_view log);

/// The sentence for programs that the kernel did not load: `error` as errno, `said` as libbpf told
/// it, the verifier's log included. Names the kernel, what is missing or the verifier's reason, and
/// the oldest kernel that will do.
[[nodiscard]] Error not_loaded(int error, std::string_view said);

/// How this kernel attaches programs to devices: "TCX" or "filters". ErrorCode::unsupported: by
/// neither. Tried in a network namespace of its own, which is gone afterwards.
[[nodiscard]] Result<std::string> way_to_attach();

}  // namespace metatap::dataplane
