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
///
/// Where the service manager offers it (sys/notify.hpp), it has them all as well, for the
/// supervisor after this one.
class Listeners final : public GuestFrontend {
 public:
  explicit Listeners(unsigned workers);

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

  /// Another supervisor will have them: who is told to close one from now on only lets go of it.
  void leave() { left_ = true; }

 private:
  void send(const std::string& name, const GuestListener& listener);

  void store(const std::string& name, int fd);
  void drop_stored(const std::string& name);

  const unsigned workers_;
  const std::size_t most_stored_;  ///< by the service manager
  bool open_ = true, left_ = false;
  bool told_ = false;                          ///< that not all of them are stored
  std::map<std::string, std::string> stored_;  ///< by name: what the service manager calls them
  channel::Link* worker_ = nullptr;
  std::map<std::string, GuestListener> all_;
  std::map<std::pair<Path, std::string>, channel::Publish> tables_;
};

}  // namespace metatap::apps
