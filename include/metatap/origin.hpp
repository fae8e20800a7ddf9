// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "metatap/unique_fd.hpp"

/// The seam between data plane and proxy: sockets go up, and with each accepted connection the
/// data plane says who opened it. Nothing a guest sends takes part in that answer.
namespace metatap {

/// Which way the connection was steered.
enum class Path : std::uint8_t { tap, router, dhcp };

/// Who opened a connection. Shared by all connections of one port; immutable but for `revoked`.
struct Origin {
  Path path = Path::tap;
  std::string port_id;     ///< empty: the source address belongs to no port (agent answers 404)
  std::string network_id;  ///< empty only if unknown
  std::string router_id;   ///< router path only
  std::string device;      ///< host device, for logs
  std::uint32_t slot = 0;  ///< row in the data plane's slot map; 0 without BPF
  /// Set when the port, its device or its namespace goes away or changes hands. A session checks
  /// it before every request and closes; the identity of a re-used device is never inherited.
  std::atomic<bool> revoked{false};
};

/// One connection's identity: its origin and the guest's address as text, unaliased, the way
/// Neutron's proxies write it into X-Forwarded-For.
struct Caller {
  std::shared_ptr<const Origin> origin;  ///< null: no valid tag, the connection is reset
  std::string address;
  /// The guest itself chose `address`, and the port has none by configuration. It says nothing to
  /// who looks ports up by address: it may be another guest's.
  bool address_is_guests_choice = false;
};

/// Answers "who is this" for sockets accepted from one listener. Thread-safe; called on the
/// accepting worker, so it must not block or allocate more than the returned strings.
class CallerResolver {
 public:
  virtual ~CallerResolver() = default;
  [[nodiscard]] virtual Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const = 0;
};

/// A bound, listening, non-blocking TCP socket together with the one who can name its callers.
struct GuestListener {
  UniqueFd fd;
  std::string name;  ///< unique, for logs and status: "qrouter-…/169.254.169.254:80"
  std::shared_ptr<const CallerResolver> resolver;
  /// Several listeners of one group share an address by SO_REUSEPORT: one per worker.
  unsigned worker = 0;  ///< which worker should accept; taken modulo the number of workers
  /// The only one at its address: a busy worker passes connections on to others.
  bool alone = false;
};

/// Implemented by the proxy. Thread-safe.
class GuestFrontend {
 public:
  virtual ~GuestFrontend() = default;
  virtual void open(GuestListener listener) = 0;
  /// Closes the listener at once; returns only when its fd is closed, because an open socket
  /// would keep a deleted namespace alive. Connections already accepted from it are closed too.
  virtual void close(const std::string& name) = 0;
  [[nodiscard]] virtual unsigned workers() const = 0;
};

}  // namespace metatap
