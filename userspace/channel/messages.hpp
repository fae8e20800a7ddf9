// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "metatap/view.hpp"

/// All that supervisor and worker say to each other. The supervisor has the rights and believes the
/// worker, which reads what guests send, in nothing but which ports there are.
namespace metatap::channel {

enum class Type : std::uint16_t {
  hello = 1,
  inventory,
  serving,
  settle,
  look,
  beat,
  kept,
  handed,
  connect,
  watch,
  welcome = 101,
  listen,
  close,
  publish,
  settled,
  seen,
  drain,
  succeed,
  connected,
  not_connected,
  expose,
  packets
};

// ---- from the worker ----

/// First of all.
struct Hello {
  static constexpr Type kType = Type::hello;
  std::string program;  ///< its version, for the log
};

/// What the data plane needs of the inventory: networks, subnets, routers and ports, of each only
/// what it goes by. No instance, no secret, no user data.
struct InventoryNews {
  static constexpr Type kType = Type::inventory;
  bool whole = false;  ///< there is nothing else; otherwise: what has changed
  std::uint64_t revision = 0;
  std::vector<Network> networks;
  std::vector<Subnet> subnets;
  std::vector<Router> routers;
  std::vector<Port> ports;
  std::vector<std::string> gone_networks, gone_subnets, gone_routers, gone_ports;

  [[nodiscard]] bool empty() const {
    return networks.empty() && subnets.empty() && routers.empty() && ports.empty() &&
           gone_networks.empty() && gone_subnets.empty() && gone_routers.empty() &&
           gone_ports.empty();
  }
};

/// Its stages run: it can take listeners.
struct Serving {
  static constexpr Type kType = Type::serving;
};

/// Say when all that was told until now is in effect, and what of it could not be done.
struct Settle {
  static constexpr Type kType = Type::settle;
  /// Asks for the moment alone: who else asks is told what could not be done.
  static constexpr std::uint64_t kOnlyWhen = 0;
  std::uint64_t question = 0;
};

/// What does the data plane look like?
struct Look {
  static constexpr Type kType = Type::look;
  std::uint64_t question = 0;
  View view = View::status;
  std::string about;  ///< port, explain: the port's id
};

/// Its control thread still turns. Every few seconds.
struct Beat {
  static constexpr Type kType = Type::beat;
};

/// Connect to a UNIX socket for me, to which my user may not. It is one that the configuration
/// names.
struct Connect {
  static constexpr Type kType = Type::connect;
  std::uint64_t question = 0;
  std::string path;
};

/// To the supervisor that comes after its own: a listening socket that it has. With the socket.
struct Kept {
  static constexpr Type kType = Type::kept;
  static constexpr std::size_t kDescriptors = 1;
};

/// Those were all, or it hands over nothing.
struct Handed {
  static constexpr Type kType = Type::handed;
  std::uint32_t count = 0;
  std::string refused;  ///< why it does not; it serves on
};

/// Somebody looks on: tell of packets for so long from now on.
struct Watch {
  static constexpr Type kType = Type::watch;
  std::uint32_t milliseconds = 0;
};

// ---- from the supervisor ----

/// Answers Hello. With three descriptors: the table of callers, where to ask for addresses that
/// guests chose themselves, and the door by which another supervisor may come (door.hpp).
struct Welcome {
  static constexpr Type kType = Type::welcome;
  static constexpr std::size_t kDescriptors = 3;
  std::uint32_t slots = 0;
  std::int32_t supervisor = 0;  ///< its process id
  std::uint64_t restarts = 0;   ///< so many workers have died before this one
};

/// With the listening socket.
struct Listen {
  static constexpr Type kType = Type::listen;
  static constexpr std::size_t kDescriptors = 1;
  std::string name;
  CallerRule callers;
  std::uint32_t worker = 0;
  bool alone = false;
};

struct Close {
  static constexpr Type kType = Type::close;
  std::string name;
};

struct Publish {
  static constexpr Type kType = Type::publish;
  PlaceName place;
  AddressTable table;
};

struct Settled {
  static constexpr Type kType = Type::settled;
  std::uint64_t question = 0;
  std::vector<std::string> problems;  ///< what could not be done
};

struct Seen {
  static constexpr Type kType = Type::seen;
  std::uint64_t question = 0;
  std::string document;  ///< JSON
};

/// Answers Connect, with the socket.
struct Connected {
  static constexpr Type kType = Type::connected;
  static constexpr std::size_t kDescriptors = 1;
  std::uint64_t question = 0;
};
struct NotConnected {
  static constexpr Type kType = Type::not_connected;
  std::uint64_t question = 0;
  std::string why;
};

/// What programs did with packets, while somebody looks on.
struct Packets {
  static constexpr Type kType = Type::packets;
  struct One {
    std::int64_t when = 0;  ///< microseconds since 1970
    std::string port_id, device;
    std::uint32_t reason = 0;  ///< enum mt_reason
    std::uint32_t length = 0;
    std::string source;
  };
  std::vector<One> all;
  std::uint64_t lost = 0;  ///< so many more there were
};

/// Accept no more, finish what is under way, and end.
struct Drain {
  static constexpr Type kType = Type::drain;
  std::uint32_t arrival = 0;  ///< milliseconds until then, for handshakes that have begun
  std::uint32_t limit = 0;    ///< milliseconds it may take
};

/// Answers the Hello of a worker of an earlier supervisor: hand over what listens, and serve on
/// until you are told to drain.
struct Succeed {
  static constexpr Type kType = Type::succeed;
  std::uint32_t abi = 0;  ///< version of the maps' layout (MT_ABI_VERSION)
};

/// With the listening socket at which metrics, health and the status page are for whoever connects.
struct Expose {
  static constexpr Type kType = Type::expose;
  static constexpr std::size_t kDescriptors = 1;
  std::string name;
};

/// So many descriptors come with a message of that kind.
template <class Message>
[[nodiscard]] constexpr std::size_t descriptors_of() {
  if constexpr (requires { Message::kDescriptors; }) {
    return Message::kDescriptors;
  } else {
    return 0;
  }
}

/// The message's body.
template <class Message>
[[nodiscard]] std::string encode(const Message& message);
/// ErrorCode::invalid: the body is not one of that kind.
template <class Message>
[[nodiscard]] Result<Message> decode(const std::string& body);

/// Is it one that the data plane may work with? ErrorCode::invalid says what is wrong: ids and
/// device names that no inventory of ours would have let in.
[[nodiscard]] Status check(const InventoryNews& news);

/// All of it, or what a change has in it.
[[nodiscard]] InventoryNews news_of(const Inventory& whole);
[[nodiscard]] InventoryNews news_of(const InventoryChange& change);
/// What becomes of `before` by news that were checked. Whole ones are put into an empty inventory.
[[nodiscard]] InventoryChange follow(std::shared_ptr<const Inventory> before, InventoryNews news);

}  // namespace metatap::channel
