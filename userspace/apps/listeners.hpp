// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <utility>

#include "channel/link.hpp"
#include "metatap/origin.hpp"

namespace metatap::apps {

/// The supervisor's hold on all listening sockets: a worker that dies takes none with it, and the
/// next one gets them all. Control thread.
///
/// While the gate is closed nobody listens, for all that the kernel knows: the programs send guests
/// where their ports' `when_down` says.
class Listeners final : public GuestFrontend {
 public:
  explicit Listeners(unsigned workers) : workers_(workers) {}

  void open(GuestListener listener) override;
  void close(const std::string& name) override;
  void publish(const PlaceName& place, AddressTable table) override;
  [[nodiscard]] unsigned workers() const override { return workers_; }
  [[nodiscard]] bool listening() const override { return open_; }

  /// That worker gets all there are, and what comes and goes from now on. Null: there is none at
  /// the moment, connections wait.
  void serve_by(channel::Link* worker);

  void close_gate();
  void open_gate();

 private:
  void send(const std::string& name, const GuestListener& listener);

  const unsigned workers_;
  bool open_ = true;
  channel::Link* worker_ = nullptr;
  std::map<std::string, GuestListener> all_;
  std::map<std::pair<Path, std::string>, channel::Publish> tables_;
};

}  // namespace metatap::apps
