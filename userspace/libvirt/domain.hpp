// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/result.hpp"

/// What libvirt's XML of a running domain says of the guest. No connection in here.
namespace metatap::libvirt {

/// What a guest is to be told, from wherever it comes.
struct GuestData {
  std::string hostname, project_id;
  std::vector<std::string> ssh_keys;
  std::optional<std::string> user_data, vendor_data;          ///< bytes
  std::vector<std::pair<std::string, std::string>> metadata;  ///< names and values
};

struct DomainInterface {
  std::string device;   ///< of the host
  std::string mac;      ///< the guest's
  std::string network;  ///< libvirt's name of it, or the bridge's
};

struct Domain {
  std::string name, uuid;
  std::vector<DomainInterface> interfaces;
  /// Interfaces that cannot be served, each with the reason.
  std::vector<std::string> left_out;
  /// The domain's <metadata> in our namespace. nullopt: there is none. An error: it makes no sense;
  /// all that is wrong with it.
  Result<std::optional<GuestData>> data;
  /// What cloud-init's ds-identify looks for is there: SMBIOS' product, or the command line of a
  /// kernel that libvirt boots. A command line on the guest's own disk does not show.
  bool says_openstack = false;
};

/// Of our element in a domain's <metadata>.
inline constexpr std::string_view kMetadataNamespace = "urn:metatap:guest:1";

/// The live XML (virDomainGetXMLDesc). ErrorCode::invalid: it is no domain's.
[[nodiscard]] Result<Domain> parse_domain(std::string_view xml);

}  // namespace metatap::libvirt
