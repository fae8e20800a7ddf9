// SPDX-License-Identifier: Apache-2.0
// What an OVSDB server sends, in any pieces: cut into the same messages, and whatever they say of
// OVN's ports, a port that is read from them is a whole one.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "agent/ovn_port.hpp"
#include "agent/ovsdb_monitor.hpp"
#include "base/json_text.hpp"
#include "fuzz/fuzz.hpp"
#include "metatap/address.hpp"

namespace {

using namespace metatap::agent;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::json_object;
using metatap::JsonSplitter;
using metatap::member;
using metatap::fuzz::require;
using nlohmann::json;

/// The complete messages; the last one is empty where the stream is no JSON.
std::vector<std::string> cut(std::string_view stream, std::size_t step) {
  JsonSplitter splitter;
  std::vector<std::string> all;
  for (; !stream.empty(); stream.remove_prefix(std::min(step, stream.size()))) {
    const auto texts = splitter.take(stream.substr(0, step));
    if (!texts) {
      all.emplace_back();
      return all;
    }
    all.insert(all.end(), texts->begin(), texts->end());
  }
  return all;
}

std::map<std::string, OvsdbMonitor> tables() {
  std::map<std::string, OvsdbMonitor> all;
  all["Port_Binding"].columns = {"logical_port", "mac", "external_ids",
                                 "parent_port",  "tag", "port_security"};
  all["Port_Binding"].where = json::array({json::array({"chassis", "==", "x"}), false});
  all["Datapath_Binding"].columns = {"external_ids"};
  all["Datapath_Binding"].optional = true;
  return all;
}

void check_ports(const OvsdbCopy& copy) {
  static const OvsdbRow kNone;
  const auto& datapaths = copy.rows("Datapath_Binding");
  const auto& datapath = datapaths.empty() ? kNone : datapaths.begin()->second;
  const OvnTap tap{.port = "p", .name = "tap0", .guest_mac = "fa:16:3e:00:00:01", .present = true};
  const OvsdbRow* before = nullptr;
  for (const auto& [uuid, row] : copy.rows("Port_Binding")) {
    const auto port =
        ovn_port({.binding = row, .datapath = datapath, .parent = before, .tap = &tap});
    if (port) {
      require(!port->id.empty() && !port->network_id.empty() && !port->device_id.empty());
      require(metatap::parse_mac(port->mac_address).has_value());
      require(!port->vlan || (*port->vlan >= 1 && *port->vlan <= 4094));
      require(std::ranges::all_of(port->fixed_ips, [](const auto& fixed) {
        return metatap::Address::parse(fixed.ip_address).has_value();
      }));
    } else {
      require(!port.error().text.empty());
    }
    before = &row;
  }
}

class Client {
 public:
  explicit Client(bool conditional) : conditional_(conditional) {}

  /// As OvsdbClient goes about it.
  void hear(const json& message) {
    const auto& result = member(message, "result");
    if (const auto& schema = member(result, "tables"); schema.is_object()) {
      if (copy_.learn(result)) {
        static_cast<void>(copy_.requests(conditional_));
      }
    }
    server_.update(result);
    if (check_updates(result)) {
      static_cast<void>(copy_.replace(result));
    }
    if (const auto& params = member(message, "params"); params.is_array() && params.size() == 2) {
      if (check_updates(params[1])) {
        static_cast<void>(copy_.update(params[1]));
        server_.update(params[1]);
      }
    }
    static_cast<void>(server_.usable("OVN_Southbound", true));
    static_cast<void>(copy_.take_condition("Port_Binding"));
    require(copy_.every_row().size() == copy_.size());
    check_ports(copy_);
  }

 private:
  const bool conditional_;
  OvsdbCopy copy_{tables()};
  OvsdbServerState server_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) {
    return 0;
  }
  const auto stream = metatap::fuzz::as_text(data + 1, size - 1);
  const auto messages = cut(stream, std::max<std::size_t>(stream.size(), 1));
  auto pieces = cut(stream, 1U + data[0] % 64U);
  // Of a piece that breaks off nothing is given back, of the whole not even what came before.
  require(messages == pieces || (!messages.empty() && messages.back().empty() && !pieces.empty() &&
                                 pieces.back().empty()));
  Client client((data[0] & 0x80U) == 0);
  for (const auto& text : pieces) {
    if (const auto message = json_object(text)) {
      client.hear(*message);
    }
  }
  return 0;
}
