// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <vector>

namespace metatap::apps {

/// The last moments of a process: its doors close, and what runs inside is finished, within a
/// limit. The control loop goes on meanwhile, because requests may need it. Control thread.
class Drain {
 public:
  explicit Drain(boost::asio::io_context& control) : control_(control), timer_(control) {}

  /// A server with drain(), open_connections() and stop(), which outlives run().
  template <class Server>
  void add(Server& server) {
    doors_.push_back({[&server] { server.drain(); },
                      [&server] { return server.open_connections(); },
                      [&server] { server.stop({}); }});
  }

  /// Closes the doors `arrival` from now, which is for those who stand in them, waits until nothing
  /// runs any more, `limit` has passed, or hurry() was called, and ends what is left: so many
  /// connections.
  unsigned run(std::chrono::milliseconds arrival, std::chrono::milliseconds limit);
  void hurry() { hurry_ = true; }

 private:
  struct Door {
    std::function<void()> close;
    std::function<unsigned()> running;
    std::function<void()> end;
  };
  [[nodiscard]] unsigned running() const;
  void close_doors();
  void look();

  boost::asio::io_context& control_;
  boost::asio::steady_timer timer_;
  std::vector<Door> doors_;
  std::chrono::steady_clock::time_point end_;
  bool hurry_ = false;
};

}  // namespace metatap::apps
