// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/address.hpp"
#include "metatap/unique_fd.hpp"

/// The seam between data plane and proxy, which are two processes: listening sockets go up, with
/// words on how their callers are known; who is who stands in a table that the data plane writes
/// and the proxy can only read. Nothing a guest sends takes part in the answer.
namespace metatap {

/// Which way the connection was steered.
enum class Path : std::uint8_t { tap, router, dhcp };

/// Who has a slot now: each owner has a number of its own, 0 is nobody. Written by the data plane,
/// in memory that the proxy shares.
using Ownership = std::atomic<std::uint64_t>;
static_assert(Ownership::is_always_lock_free && sizeof(Ownership) == sizeof(std::uint64_t));

/// What a stage keeps with a port, so that no connection has to look for it.
class PortNotes {
 public:
  PortNotes() = default;
  PortNotes(const PortNotes&) = delete;
  PortNotes& operator=(const PortNotes&) = delete;
  virtual ~PortNotes() = default;
};

/// Where they are kept: written once, read on every connection. Thread-safe.
class NotesSlot {
 public:
  /// Null: nothing is kept yet. Stays valid as long as this lives.
  [[nodiscard]] PortNotes* get() const { return set_.load(std::memory_order_acquire); }
  /// Of several who write at once the caller has seen to it that they are one after the other.
  void set(std::shared_ptr<PortNotes> notes) {
    if (get() == nullptr) {
      kept_ = std::move(notes);
      set_.store(kept_.get(), std::memory_order_release);
    }
  }

 private:
  std::shared_ptr<PortNotes> kept_;
  std::atomic<PortNotes*> set_{nullptr};
};

/// Who opened a connection. Shared by all connections of one port; immutable, but for `notes`.
struct Origin {
  Path path = Path::tap;
  /// Empty: the source address belongs to no port (agent answers 404); on the tap path: nobody has
  /// said yet whose the device is.
  std::string port_id;
  std::string network_id;                  ///< empty only if unknown
  std::string router_id;                   ///< router path only
  std::string device;                      ///< host device, for logs
  std::uint32_t slot = 0;                  ///< row in the data plane's slot map
  std::uint64_t owner = 0;                 ///< the number that it has as the owner of that slot
  std::shared_ptr<const Ownership> holds;  ///< who has the slot now; null: this one, for ever
  /// Which plugging-in of the port this is: the same for as long as its device is there, also after
  /// a restart of ours, and another for the next device, whatever its name and number. 0: there is
  /// no device to go by (behind a router).
  std::uint64_t plug = 0;
  /// When the data plane saw the port come: milliseconds of CLOCK_BOOTTIME. After a restart it has
  /// no other memory of a port than that.
  std::int64_t came = 0;
  mutable NotesSlot notes;  ///< the proxy's; see there

  /// Nobody has said yet whose the device is. When somebody does, this one is revoked, and its
  /// connections have another.
  [[nodiscard]] bool unknown() const { return path == Path::tap && port_id.empty(); }

  /// The port, its device or its namespace went away or changed hands. A session checks it before
  /// every request and closes; the identity of a re-used device is never inherited.
  [[nodiscard]] bool revoked() const {
    return holds && holds->load(std::memory_order_acquire) != owner;
  }
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

/// A router's or DHCP namespace by what Neutron's name of it says: `qrouter-<router id>`,
/// `qdhcp-<network id>`.
struct PlaceName {
  Path path = Path::router;
  std::string id;  ///< of the router or the network
  /// nullopt: another kind of namespace.
  static std::optional<PlaceName> of(std::string_view namespace_name);
  bool operator==(const PlaceName&) const = default;
};

/// How the callers of a listener are known.
struct CallerRule {
  enum class By : std::uint8_t {
    alias,    ///< by their address, which the data plane made; in the metadata namespace
    mark,     ///< by the mark on the connection; `place` says of which namespace it must be
    address,  ///< by their own address, in the table that is published for `place`
  };
  By by = By::alias;
  PlaceName place;
};

/// A bound, listening, non-blocking TCP socket.
struct GuestListener {
  UniqueFd fd;
  std::string name;  ///< unique, for logs and status: "qrouter-…/169.254.169.254:80"
  CallerRule callers;
  /// Several listeners of one group share an address by SO_REUSEPORT: one per worker.
  unsigned worker = 0;  ///< which worker should accept; taken modulo the number of workers
  /// The only one at its address: a busy worker passes connections on to others.
  bool alone = false;
};

/// Who is who in one namespace without BPF: by the peer's address, and for link-local v6 by the
/// device it came from.
struct AddressTable {
  /// A slot and the number of its owner; 0 and 0: nobody.
  struct Tenant {
    std::uint32_t slot = 0;
    std::uint64_t owner = 0;
    bool operator==(const Tenant&) const = default;
  };
  struct Known {
    Address address;
    std::uint32_t ifindex = 0;  ///< of the device, for link-local addresses
    Tenant tenant;
  };
  struct Device {
    std::uint32_t ifindex = 0;
    std::vector<Prefix> subnets;  ///< address and prefix length
    Tenant tenant;                ///< without a port
  };
  std::vector<Known> known;  ///< sorted by address and ifindex
  std::vector<Device> devices;

  void sort();
  /// Who has that address; without a port for one of ours that no port has; nobody for one that is
  /// in none of our subnets.
  [[nodiscard]] Tenant find(const Address& address, unsigned ifindex) const;
};

/// Who takes the listeners. Called on the control thread.
class GuestFrontend {
 public:
  virtual ~GuestFrontend() = default;
  virtual void open(GuestListener listener) = 0;
  /// Nobody can connect to it any more when this returns; connections already accepted from it are
  /// closed too, and so is, in a moment, the last descriptor, which keeps its namespace alive.
  virtual void close(const std::string& name) = 0;
  /// Who is who for the listeners that go by the addresses of `place`, from now on.
  virtual void publish(const PlaceName& place, AddressTable table) = 0;
  [[nodiscard]] virtual unsigned workers() const = 0;
  /// False: for the moment nobody serves, and none of the sockets listens on purpose.
  [[nodiscard]] virtual bool listening() const { return true; }
};

}  // namespace metatap
