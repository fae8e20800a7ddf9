// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace metatap::proxy {

/// A request that wants to wait for another answer, by the names of Google's metadata server:
///
///   ?wait_for_change=true [&last_etag=E] [&timeout_sec=N]
struct ChangeQuery {
  std::string target;  ///< without these three
  bool wait = false;   ///< false: they were there and ask for nothing
  /// What the guest has, `0` or anything else that no tag is: nothing. nullopt: whatever comes
  /// first is what it has.
  std::optional<std::string> last_etag;
  std::optional<std::chrono::seconds> timeout;  ///< from 0 on; nullopt: as long as may be

  /// nullopt: it says nothing of changes. An error is what is wrong with what it says.
  [[nodiscard]] static tl::expected<std::optional<ChangeQuery>, std::string_view> of(
      std::string_view target);
};

}  // namespace metatap::proxy
