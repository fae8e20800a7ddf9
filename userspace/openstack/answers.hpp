// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

/// What Keystone and the services of its catalogue answer, taken apart. No network here.
namespace metatap::openstack {

/// Of Keystone's answer to a sign-in (Identity API v3, POST /v3/auth/tokens); the token itself is
/// in a header.
struct SignIn {
  nlohmann::json catalog;
  /// What the clock cannot count to is its last moment. nullopt: it is not said.
  std::optional<std::chrono::system_clock::time_point> expires;
};
/// nullopt: that is no token.
[[nodiscard]] std::optional<SignIn> read_sign_in(std::string_view body);

/// Of the `Date` in an answer's head (RFC 9110 §5.6.7). What the clock cannot count to is its last
/// moment. nullopt: that is no date.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> read_date(
    const std::string& text);

/// The URL of a service, by its type in the catalogue ("network", "compute"). Of several endpoints
/// that fit the first interface that has any, the last. An empty region is any. Empty: none fits.
[[nodiscard]] std::string endpoint_in(const nlohmann::json& catalog, std::string_view type,
                                      const std::vector<std::string>& interfaces,
                                      std::string_view region);

/// One page of a collection.
template <class Json>
struct Page {
  std::vector<Json> items;
  std::string next;  ///< path and query of the next one; empty: it is the last
};
/// `service` is for the errors, which are ErrorCode::unavailable. Json: nlohmann::json or
/// nlohmann::ordered_json.
template <class Json>
[[nodiscard]] Result<Page<Json>> read_page(std::string_view body, const std::string& key,
                                           std::string_view service);

}  // namespace metatap::openstack
