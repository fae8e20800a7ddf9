// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::apps {

enum class Steering : std::uint8_t { bpf, listen };

struct DaemonOptions {
  std::vector<std::filesystem::path> config_files;
  std::optional<std::filesystem::path> config_directory;
  bool dataplane = true, proxy = true, agent = true, api = true;
  Steering steering = Steering::bpf;

  /// "dataplane,proxy": which stages run in this process. ErrorCode::invalid names the word that
  /// is no stage, or the combination that cannot work.
  Status set_stages(std::string_view list);
};

/// One process with any subset of the stages, in the order a request meets them. Neighbouring
/// stages that both run here are joined in memory; a stage whose neighbour runs elsewhere speaks
/// to it over the boundary's socket. Only wiring: every decision is a stage's own.
class Daemon {
 public:
  /// Reads the configuration and builds the stages; nothing is opened or attached yet.
  static Result<std::unique_ptr<Daemon>> build(const DaemonOptions& options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// What build() does not look at, because a start does: files and URLs that the options name.
  [[nodiscard]] Status check() const;
  /// Starts everything, serves until SIGINT or SIGTERM, and puts the host back as it was. SIGHUP
  /// has the files looked at at once that are otherwise looked at every now and then.
  Status run();

 private:
  struct Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::apps
