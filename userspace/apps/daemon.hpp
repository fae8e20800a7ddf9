// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
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
  /// How the program was called, so that a worker of the same kind can be.
  std::vector<std::string> arguments;
  /// This is the worker of a supervisor, and here is the channel to it.
  std::optional<int> channel;

  /// "dataplane,proxy": which stages run in this process. ErrorCode::invalid names the word that
  /// is no stage, or the combination that cannot work.
  Status set_stages(std::string_view list);
  /// The names of those that run here.
  [[nodiscard]] std::vector<std::string> stages() const;
};

/// Any subset of the stages. With a data plane it is two processes: one that has the rights and
/// reads nothing (supervisor.hpp), and one that reads what guests send and has no rights
/// (worker.hpp), which is this program again under the name metatap-worker. Without, it is a worker
/// by itself.
class Daemon {
 public:
  /// Reads the configuration; nothing is opened or attached yet.
  static Result<std::unique_ptr<Daemon>> build(const DaemonOptions& options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// What build() does not look at, because a start does: files and URLs that the options name.
  [[nodiscard]] Status check() const;
  /// Starts everything, serves until SIGINT or SIGTERM, and puts the host back as it was. SIGHUP
  /// replaces the worker, which reads everything anew; a worker by itself looks at the files that
  /// it otherwise looks at every now and then.
  Status run();

 private:
  struct Impl;
  explicit Daemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::apps
