// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/metadata.hpp"
#include "api/options.hpp"

namespace metatap::api {

struct DriveFile {
  std::string path;  ///< "openstack/latest/meta_data.json"
  std::string bytes;
};

/// The vendordata that goes on a drive.
struct DriveVendordata {
  std::optional<std::string> vendor_data;  ///< nullopt: no such provider, no such file
  std::string vendor_data2 = "{}";
};

/// The files of a config drive in Nova's order, from the same values the HTTP bodies are made of.
/// Each version's meta_data.json has a random seed of its own. Versions dated in the future are
/// included, as in Nova; vendor_data.json is left out where Nova would have failed for want of it.
[[nodiscard]] std::vector<DriveFile> drive_tree(const Metadata& metadata, const ApiOptions& options,
                                                const DriveVendordata& vendordata);

}  // namespace metatap::api
