// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/maps.hpp"
#include "dataplane/options.hpp"
#include "metatap/abi/abi.h"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

struct metatap_bpf;

namespace metatap::dataplane {

struct ReasonInfo {
  std::string_view name, text, outcome;  ///< outcome: pass, drop or steer
};
/// reasons.def as a table, by number.
[[nodiscard]] const std::vector<ReasonInfo>& reasons();

/// The loaded BPF programs and their pinned maps. Maps that an earlier process left under
/// pin_path are used again when their layout is ours, so that identity survives a restart.
class Programs {
 public:
  /// One sentence about what is missing (BPF, capabilities, a BPF filesystem), or success.
  static Status probe();

  /// Has the kernel take programs and maps, pins nothing and lets go of them again: would load()
  /// succeed on this kernel? The error is not_loaded()'s (kernel.hpp).
  static Status try_load();

  /// Loads and pins. ErrorCode::conflict: another daemon uses that pin_path;
  /// ErrorCode::unsupported: the pinned maps are of a newer version; or they are not as ours would
  /// be and `in_use`: somebody serves guests by them.
  static Result<std::unique_ptr<Programs>> load(const DataPlaneOptions& options,
                                                bool in_use = false);
  ~Programs();
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;

  /// fd of a program or a map by its name in the object; -1 if there is none.
  [[nodiscard]] int program(std::string_view name) const;
  [[nodiscard]] int map(std::string_view name) const;
  [[nodiscard]] const Maps& maps() const { return *maps_; }
  [[nodiscard]] const std::filesystem::path& pin_path() const { return pin_path_; }
  /// The maps are those of an earlier process, with all that is in them.
  [[nodiscard]] bool inherited() const { return inherited_; }
  /// Maps that somebody took off the filesystem.
  [[nodiscard]] std::vector<std::string> missing_pins() const;
  /// Directory for pinned links.
  [[nodiscard]] std::filesystem::path links_path() const { return pin_path_ / "links"; }

  [[nodiscard]] Result<mt_config> config() const;
  Status set_config(const mt_config& config);
  /// Events for which mt_events had no room.
  [[nodiscard]] std::uint64_t events_lost() const;
  /// To which port the last answer to a probe went, by family (bpf/probe.bpf.h).
  [[nodiscard]] std::uint16_t probe_answered(int family) const;

  /// Links that nobody holds detach with their pins.
  void unpin_links();
  /// Takes maps, links and the directory off the filesystem; they live on while held.
  void unpin();

 private:
  explicit Programs(std::filesystem::path pin_path) : pin_path_(std::move(pin_path)) {}
  std::filesystem::path pin_path_;
  bool inherited_ = false;
  UniqueFd lock_;
  struct Destroy {
    void operator()(metatap_bpf* skeleton) const;
  };
  std::unique_ptr<metatap_bpf, Destroy> skeleton_;
  std::optional<Maps> maps_;
};

struct ReasonStatus {
  std::string name, text, outcome;
  std::uint64_t packets = 0;
};
/// Packets by reason, all CPUs together.
[[nodiscard]] std::vector<ReasonStatus> count_reasons(const Programs& programs);

}  // namespace metatap::dataplane
