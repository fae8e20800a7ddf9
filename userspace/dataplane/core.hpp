// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/options.hpp"
#include "dataplane/programs.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// What becomes of programs and rows when the process ends.
enum class Leave : std::uint8_t {
  nothing,  ///< detach, take down the namespace, unpin
  refusal,  ///< programs and rows of taps stay, and refuse; the namespace goes
  steering  ///< leave programs and maps for the next process, which knows by them who is who;
            ///< packets are treated as `when_down` says until it listens. Open connections end:
            ///< the namespace stays only until that process makes its own
};

/// What tap and router mode share: options, loaded programs with their maps, and the one space of
/// slot numbers. Without BPF (`--steering=listen`) `programs` is null.
struct Core {
  DataPlaneOptions options;
  std::unique_ptr<Programs> programs;
  std::shared_ptr<SlotTable> slots;

  /// Loads and pins the programs.
  static Result<std::shared_ptr<Core>> with_bpf(DataPlaneOptions options);
  static Result<std::shared_ptr<Core>> without_bpf(DataPlaneOptions options);

  /// What an orderly end leaves behind: with `when_down = refuse` the guests' metadata packets are
  /// refused after it as well, or a neighbour could answer them.
  [[nodiscard]] Leave at_the_end() const;
  /// Takes the maps off the filesystem, unless something of them is still in use.
  void end();
};

}  // namespace metatap::dataplane
