// SPDX-License-Identifier: Apache-2.0
#include "api/config_drive.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "api/stage.hpp"
#include "base/random_seed.hpp"

namespace metatap::api {
std::vector<DriveFile> config_drive_files(const Metadata& metadata, const ApiOptions& options,
                                          const DriveVendordata& vendordata) {
  std::vector<DriveFile> files;
  const auto skipped = [&](std::string_view version) {
    return std::ranges::find(options.config_drive_skip_versions, version) !=
           options.config_drive_skip_versions.end();
  };
  const auto ec2 = [&](std::string_view name, std::size_t version) {
    if (skipped(name)) {
      return;
    }
    const auto base = fmt::format("ec2/{}/", name);
    if (metadata.user_data) {
      files.push_back({base + "user-data", *metadata.user_data});
    }
    files.push_back({base + "meta-data.json", metadata.ec2_meta_data(version).dump()});
  };
  for (std::size_t version = 0; version < kEc2Versions.size(); ++version) {
    ec2(kEc2Versions[version], version);
  }
  ec2("latest", kEc2Versions.size() - 1);

  const auto openstack = [&](std::string_view name, std::size_t version) {
    const auto base = fmt::format("openstack/{}/", name);
    std::string seed;
    append_random_seed(seed);
    files.push_back({base + "meta_data.json", metadata.meta_data_json(version, seed)});
    if (metadata.user_data) {
      files.push_back({base + "user_data", *metadata.user_data});
    }
    if (version >= since::kVendorData && vendordata.vendor_data) {
      files.push_back({base + "vendor_data.json", *vendordata.vendor_data});
    }
    if (version >= since::kNetworkDataListed && metadata.network_data) {
      files.push_back({base + "network_data.json", *metadata.network_data});
    }
    if (version >= since::kVendorData2 && vendordata.vendor_data2) {
      files.push_back({base + "vendor_data2.json", *vendordata.vendor_data2});
    }
  };
  for (std::size_t version = 0; version < options.openstack_versions(); ++version) {
    openstack(kOpenstackVersions[version], version);
  }
  openstack("latest", options.openstack_versions() - 1);

  for (std::size_t index = 0; index < metadata.content.size(); ++index) {
    files.push_back({fmt::format("openstack/content/{:04}", index), metadata.content[index]});
  }
  return files;
}

boost::asio::awaitable<Result<std::vector<DriveFile>>> make_config_drive(ApiStage& stage,
                                                                         std::string instance_id,
                                                                         DriveExtras extras) {
  const auto document = stage.document(instance_id);
  if (!document) {
    co_return fail(ErrorCode::not_found, "there is no instance " + instance_id);
  }
  DriveVendordata vendordata;
  vendordata.vendor_data = stage.vendor_data_of(document->instance());
  auto merged = co_await stage.vendor_data2_of(document->source());
  if (!merged) {
    co_return tl::make_unexpected(std::move(merged.error()));
  }
  vendordata.vendor_data2 = std::move(*merged);
  co_return config_drive_files(
      describe(document->instance(), stage.index(), stage.options(), extras), stage.options(),
      vendordata);
}

}  // namespace metatap::api
