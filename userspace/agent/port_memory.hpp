// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "inventory/store_thread.hpp"
#include "metatap/model.hpp"

namespace metatap::agent {

/// Ports as a source out of this host's reach told of them last, in a file here (a Snapshot), for a
/// start while that source cannot be asked. Whether a port is still whose it was then is for its
/// user to find out: the file proves nothing.
///
/// Calls come from one thread at a time. Nobody waits for the disk but recall().
class PortMemory {
 public:
  /// An empty `file`: nothing is kept. `source`: who told; what another told is not believed.
  PortMemory(std::filesystem::path file, std::string source);
  ~PortMemory();
  PortMemory(const PortMemory&) = delete;
  PortMemory& operator=(const PortMemory&) = delete;

  /// What the file has; without ports if that is nothing. Blocks: for the start.
  [[nodiscard]] std::shared_ptr<const Inventory> recall();
  /// These are the ports now.
  void keep(std::shared_ptr<const Inventory> ports);
  /// They still are.
  void confirm();
  /// For how long nobody has said so; 0 if nobody ever has.
  [[nodiscard]] std::chrono::seconds age() const;

 private:
  struct Shared;
  void write();

  const std::shared_ptr<Shared> shared_;
  std::shared_ptr<const Inventory> kept_;
  std::int64_t as_of_ = 0, written_at_ = 0;  ///< seconds since 1970; 0: never
  StoreThread thread_{"ports"};
};

/// Whether a file can hold the port, and give it back: an inventory has rules for ids and addresses
/// that other sources need not have.
[[nodiscard]] bool can_be_kept(const Port& port);

}  // namespace metatap::agent
