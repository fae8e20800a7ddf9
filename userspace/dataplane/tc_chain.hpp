// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/traffic_control.hpp"

namespace metatap::dataplane {

using sys::TcSide;

/// A program attached by TCX. The kernel runs these in order, ahead of every filter; one that
/// answers anything but "next" ends the chain.
struct TcxProgram {
  std::uint32_t program_id = 0;
  std::uint32_t link_id = 0;  ///< 0: attached without a link
};

/// Does this kernel have TCX (6.6)? One system call.
[[nodiscard]] bool kernel_has_tcx();

/// The device's TCX programs, first to last. In the device's namespace, as all of this file.
Result<std::vector<TcxProgram>> tcx_programs(unsigned ifindex, TcSide side);
/// Attaches ahead of all that are there. ErrorCode::conflict: this very program is there already.
Result<UniqueFd> attach_tcx_first(int program_fd, unsigned ifindex, TcSide side);

/// 0: not a link, or not of this kernel.
[[nodiscard]] std::uint32_t id_of_link(int link_fd);
[[nodiscard]] std::uint32_t id_of_program(int program_fd);

/// "cilium_from_container (id 123)"
[[nodiscard]] std::string text_of(const TcxProgram& program);
/// "u32 filter (pref 49)", "cil_from_netdev (id 123, pref 1)"
[[nodiscard]] std::string text_of(const sys::TcFilter& filter);

}  // namespace metatap::dataplane
