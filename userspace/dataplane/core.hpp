// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "dataplane/options.hpp"
#include "dataplane/programs.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// What tap and router mode share: options, loaded programs with their maps, and the one space of
/// slot numbers. Without BPF (`--steering=listen`) `programs` is null.
struct Core {
  DataPlaneOptions options;
  std::unique_ptr<Programs> programs;
  std::shared_ptr<SlotTable> slots;

  /// Loads and pins the programs.
  static Result<std::shared_ptr<Core>> with_bpf(DataPlaneOptions options);
  static std::shared_ptr<Core> without_bpf(DataPlaneOptions options);
};

}  // namespace metatap::dataplane
