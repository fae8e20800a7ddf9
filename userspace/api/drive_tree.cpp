// SPDX-License-Identifier: Apache-2.0
#include "api/drive_tree.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "api/random_seed.hpp"

namespace metatap::api {

std::vector<DriveFile> drive_tree(const Metadata& metadata, const ApiOptions& options,
                                  const DriveVendordata& vendordata) {
  std::vector<DriveFile> files;
  const auto put = [&](std::string path, std::string bytes) {
    files.push_back({std::move(path), std::move(bytes)});
  };
  for (std::size_t i = 0; i <= kEc2Versions.size(); ++i) {
    const bool latest = i == kEc2Versions.size();
    const std::string name(latest ? "latest" : kEc2Versions[i]);
    const auto& skipped = options.config_drive_skip_versions;
    if (std::ranges::find(skipped, name) != skipped.end()) {
      continue;
    }
    if (metadata.user_data) {
      put(fmt::format("ec2/{}/user-data", name), *metadata.user_data);
    }
    put(fmt::format("ec2/{}/meta-data.json", name),
        metadata.ec2_meta_data(latest ? i - 1 : i).dump());
  }
  const std::size_t versions = options.openstack_versions();
  for (std::size_t i = 0; i <= versions; ++i) {
    const std::size_t version = i == versions ? i - 1 : i;
    const std::string base =
        fmt::format("openstack/{}/", i == versions ? "latest" : kOpenstackVersions[version]);
    std::string seed;
    append_random_seed(seed);
    put(base + "meta_data.json", metadata.meta_data_json(version, seed));
    if (metadata.user_data) {
      put(base + "user_data", *metadata.user_data);
    }
    if (version >= since::kVendorData && vendordata.vendor_data) {
      put(base + "vendor_data.json", *vendordata.vendor_data);
    }
    if (version >= since::kNetworkDataListed) {
      put(base + "network_data.json", metadata.network_data);
    }
    if (version >= since::kVendorData2) {
      put(base + "vendor_data2.json", vendordata.vendor_data2);
    }
  }
  for (std::size_t i = 0; i < metadata.content.size(); ++i) {
    put(fmt::format("openstack/content/{:04}", i), metadata.content[i]);
  }
  return files;
}

}  // namespace metatap::api
