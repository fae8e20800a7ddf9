// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/inventory_index.hpp"
#include "api/json.hpp"
#include "api/options.hpp"
#include "api/versions.hpp"

namespace metatap::api {

/// What only a config drive carries, because nothing stores it.
struct DriveExtras {
  std::optional<std::string> admin_pass;
  bool personality = true;  ///< the instance's injected files
};

/// Everything one instance's metadata says, before it is laid out as HTTP bodies or as files: a
/// pure function of the instance, the inventory around it, and the options.
struct Metadata {
  std::string uuid, project_id;

  /// The newest version's meta-data, keys in the order of meta-data.json.
  Json ec2;
  /// local-ipv4 is null there: over HTTP it is then the caller's address.
  bool local_ipv4_from_caller = false;

  std::optional<std::string> user_data;  ///< decoded
  /// network_data.json; nullopt where there are interfaces of which nothing is known: a guest that
  /// is told of none takes them down, one that is told nothing uses DHCP.
  std::optional<std::string> network_data;
  std::string password;  ///< empty: none
  /// openstack/content/0000 and so on.
  std::vector<std::string> content;

  /// meta_data.json in three parts, because versions only ever append: what all versions begin
  /// with (no closing brace), the random seed, and what follows it.
  std::string head;
  std::array<std::string, kOpenstackVersions.size()> tail;

  /// The body for a version with that seed (of 684 characters; unused before 2013-04-04).
  [[nodiscard]] std::string meta_data_json(std::size_t version, std::string_view seed) const;
  /// The meta-data object of an EC2 version (an index into kEc2Versions).
  [[nodiscard]] Json ec2_meta_data(std::size_t version) const;
};

/// The text between head and seed.
inline constexpr std::string_view kBeforeSeed = ", \"random_seed\": \"";

[[nodiscard]] Metadata describe(const Instance& instance, const InventoryIndex& index,
                                const ApiOptions& options,
                                const std::optional<DriveExtras>& drive = std::nullopt);

/// "full.novalocal": the instance's name in the domain, if there is one.
[[nodiscard]] std::string full_hostname(const Instance& instance, const ApiOptions& options);

}  // namespace metatap::api
