// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

/// The versions of the two trees, oldest first (Nova's nova/api/metadata/base.py).
namespace metatap::api {

inline constexpr std::array<std::string_view, 9> kEc2Versions{
    "1.0",        "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10",
    "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04"};

inline constexpr std::array<std::string_view, 10> kOpenstackVersions{
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30",
    "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", "2025-04-04"};

/// What each OpenStack version brought, as indices into kOpenstackVersions.
namespace since {
inline constexpr std::size_t kRandomSeed = 1, kPassword = 1;
inline constexpr std::size_t kVendorData = 2;
inline constexpr std::size_t kProjectId = 3, kNetworkDataListed = 3;
inline constexpr std::size_t kDevices = 4;
inline constexpr std::size_t kVendorData2 = 5;
inline constexpr std::size_t kVlan = 6;
inline constexpr std::size_t kVfTrusted = 7;
inline constexpr std::size_t kDedicatedCpus = 8;
inline constexpr std::size_t kShares = 9;
}  // namespace since

/// Since which EC2 version a key of meta-data is served, as an index into kEc2Versions.
[[nodiscard]] constexpr std::size_t ec2_since(std::string_view key) {
  if (key == "local-hostname" || key == "public-hostname" || key == "public-ipv4") {
    return 1;
  }
  if (key == "instance-type") {
    return 3;
  }
  if (key == "block-device-mapping" || key == "kernel-id" || key == "ramdisk-id") {
    return 5;
  }
  if (key == "placement") {
    return 6;
  }
  return key == "instance-action" ? 7 : 0;
}

}  // namespace metatap::api
