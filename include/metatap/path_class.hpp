// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace metatap {

/// What kind of thing a request asks for. Few kinds, whatever guests ask: they are a label of the
/// metrics.
enum class PathClass : std::uint8_t {
  meta_data,     ///< OpenStack's meta_data.json
  user_data,     ///< of either tree
  network_data,  ///< network_data.json
  vendor_data,   ///< vendor_data.json, vendor_data2.json
  password,
  ec2,        ///< the rest of EC2's tree
  listing,    ///< of versions, or of a directory of OpenStack's tree
  metatap,    ///< the proxy's own pages
  other,      ///< nothing that there is
  malformed,  ///< no request at all
};
inline constexpr std::size_t kPathClasses = 10;

/// Of a request's target, as it is written.
[[nodiscard]] PathClass path_class_of(std::string_view target);
[[nodiscard]] std::string_view name_of(PathClass path);

}  // namespace metatap
