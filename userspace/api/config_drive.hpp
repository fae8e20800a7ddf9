// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/metadata.hpp"
#include "api/options.hpp"
#include "metatap/result.hpp"

namespace metatap::api {

class ApiStage;

/// One file of a config drive. Its parents are directories; there are no others.
struct DriveFile {
  std::string path;  ///< relative: "openstack/latest/meta_data.json"
  std::string contents;
};

/// The label by which guests find the drive.
inline constexpr std::string_view kDriveLabel = "config-2";

/// vendor_data.json and vendor_data2.json, as HTTP serves them; absent: no such file.
struct DriveVendordata {
  std::optional<std::string> vendor_data, vendor_data2;
};

/// The files of a config drive in the order Nova writes them (nova/api/metadata/base.py,
/// metadata_for_config_drive): each is what HTTP serves for that version, but that every
/// meta_data.json has a random seed of its own, and that `drive` (given to describe()) may have put
/// in what only a drive carries. Dates in the future count as reached, as in Nova.
[[nodiscard]] std::vector<DriveFile> config_drive_files(const Metadata& metadata,
                                                        const ApiOptions& options,
                                                        const DriveVendordata& vendordata);

/// The same for an instance the stage serves, with the vendordata it would serve; on the control
/// thread. ErrorCode::not_found: no such instance; unavailable: a dynamic vendordata target failed
/// and that is said to be fatal.
[[nodiscard]] boost::asio::awaitable<Result<std::vector<DriveFile>>> make_config_drive(
    ApiStage& stage, std::string instance_id, DriveExtras extras);

}  // namespace metatap::api
