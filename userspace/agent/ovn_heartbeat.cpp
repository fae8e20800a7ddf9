// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_heartbeat.hpp"

#include <algorithm>
#include <boost/uuid/name_generator_sha1.hpp>
#include <boost/uuid/string_generator.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <charconv>
#include <iterator>
#include <random>
#include <utility>

#include "base/log.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr auto kTable = "Chassis_Private";
constexpr auto kAgentId = "neutron:ovn-metadata-id";
constexpr auto kBridge = "neutron:ovn-bridge";
constexpr auto kShown = "neutron:ovn-metadata-sb-cfg";
constexpr std::chrono::milliseconds kSettled = 200ms, kRefused = 30s;  ///< until the next look

/// The namespace in which Neutron names chassis whose own name is no UUID.
constexpr auto kNamespace = "d34bf9f6-da32-4871-9af8-15a4626b41ab";

const OvsdbRow* row_of(const OvsdbClient& southbound, const std::string& chassis) {
  for (const auto& [uuid, row] : southbound.rows(kTable)) {
    if (ovsdb_text(row, "name") == chassis) {
      return &row;
    }
  }
  return nullptr;
}

std::optional<std::int64_t> number_of(const std::optional<std::string>& text) {
  std::int64_t number = 0;
  if (!text ||
      std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc()) {
    return std::nullopt;
  }
  return number;
}

}  // namespace

std::string ovn_agent_id(std::string_view chassis) {
  std::string digits;
  std::ranges::copy_if(chassis, std::back_inserter(digits), [](char c) { return c != '-'; });
  const bool is_uuid = digits.size() == 32 &&
                       digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  const boost::uuids::string_generator parse;
  const auto host =
      is_uuid ? parse(digits)
              : boost::uuids::name_generator_sha1(parse(kNamespace))(std::string(chassis));
  return boost::uuids::to_string(boost::uuids::name_generator_sha1(host)("metadata_agent"));
}

OvnHeartbeat::OvnHeartbeat(boost::asio::io_context& context, OvsdbClient& southbound,
                           std::string chassis, std::chrono::milliseconds within)
    : southbound_(southbound), chassis_(std::move(chassis)), within_(within), pause_(context) {}

json OvnHeartbeat::lacking() {
  json entries = json::array();
  const auto* row = row_of(southbound_, chassis_);
  if (row == nullptr) {
    return entries;  // ovn-controller has not made it yet
  }
  const auto add = [&](const char* key, const std::string& value) {
    if (ovsdb_entry(*row, "external_ids", key) != value) {
      entries.push_back(json::array({key, value}));
    }
  };
  // An id that is there stays: it is what Neutron knows the agent by.
  health_.agent_id = ovsdb_entry(*row, "external_ids", kAgentId).value_or(ovn_agent_id(chassis_));
  health_.shown = number_of(ovsdb_entry(*row, "external_ids", kShown));
  add(kAgentId, health_.agent_id);
  add(kBridge, bridge_);
  for (const auto& [uuid, global] : southbound_.rows("SB_Global")) {
    add(kShown, std::to_string(ovsdb_integer(global, "nb_cfg").value_or(0)));
  }
  return entries;
}

void OvnHeartbeat::look(const std::string& bridge) {
  bridge_ = bridge;
  if (waiting_) {
    return;  // and then looks again
  }
  const auto entries = lacking();
  if (entries.empty()) {
    return;
  }
  const bool next_number = health_.shown && entries.size() == 1 && entries[0][0] == kShown;
  if (next_number && within_ > 0ms && !std::exchange(paused_, true)) {
    std::random_device chance;
    look_in(std::chrono::milliseconds(
        std::uniform_int_distribution<std::int64_t>(0, within_.count())(chance)));
    return;
  }
  paused_ = false;
  write(entries);
}

void OvnHeartbeat::look_in(std::chrono::milliseconds pause) {
  waiting_ = true;
  pause_.expires_after(pause);
  pause_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) {
      self->waiting_ = false;
      self->look(self->bridge_);
    }
  });
}

void OvnHeartbeat::write(const json& entries) {
  json keys = json::array();
  for (const auto& entry : entries) {
    keys.push_back(entry[0]);
  }
  const json operation{
      {"op", "mutate"},
      {"table", kTable},
      {"where", json::array({json::array({"name", "==", chassis_})})},
      {"mutations",
       json::array({json::array({"external_ids", "delete", json::array({"set", keys})}),
                    json::array({"external_ids", "insert", json::array({"map", entries})})})}};
  waiting_ = true;
  southbound_.transact(json::array({operation}), [weak = weak_from_this()](Result<json> results) {
    const auto self = weak.lock();
    if (!self) {
      return;
    }
    self->waiting_ = false;
    const auto problem = results ? std::string() : results.error().message;
    if (!problem.empty() && problem != self->health_.last_error) {
      log::warn("ovn: Neutron was not told that the metadata agent is alive: {}", problem);
    }
    self->health_.last_error = problem;
    // By then the copy has the row as it is now, and what came meanwhile.
    self->look_in(results ? kSettled : kRefused);
  });
}

}  // namespace metatap::agent
