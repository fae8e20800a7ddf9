// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "dataplane/inherited_listeners.hpp"
#include "dataplane/options.hpp"
#include "dataplane/programs.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// What becomes of programs and rows when the process ends.
enum class Leave : std::uint8_t {
  nothing,  ///< detach, take down the namespace, unpin
  refusal,  ///< programs and rows stay on taps whose guests are to be refused while nobody listens
            ///< (when_down = refuse), or a neighbour could answer them; all else goes
  steering  ///< leave programs, maps and namespaces for the next process, which knows by them who
            ///< is who. Without sockets that are handed over to it (InheritedListeners), packets
            ///< are treated as `when_down` says until it listens, and open connections end: it
            ///< makes a metadata namespace of its own
};

/// What tap and router mode share: options, loaded programs with their maps, and the one space of
/// slot numbers. Without BPF (`--steering=listen`) `programs` is null.
struct Core {
  DataPlaneOptions options;
  std::unique_ptr<Programs> programs;
  std::shared_ptr<SlotTable> slots;
  /// What the process before left, until somebody takes it.
  std::shared_ptr<InheritedListeners> inherited = std::make_shared<InheritedListeners>();

  /// Loads and pins the programs. `inherited`: what the process before has handed over. It is of
  /// use only with that one's maps, which say whose the connections are that wait there; with
  /// others it is ended, or, if `in_use`, nothing is done: ErrorCode::unsupported.
  static Result<std::shared_ptr<Core>> with_bpf(DataPlaneOptions options,
                                                InheritedListeners inherited = {},
                                                bool in_use = false);
  static Result<std::shared_ptr<Core>> without_bpf(DataPlaneOptions options,
                                                   InheritedListeners inherited = {});

  /// Takes the maps off the filesystem, unless what was left behind (Leave::refusal) uses them, or
  /// an earlier process may have left such.
  void end(bool left_behind);
};

}  // namespace metatap::dataplane
