// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace metatap {

/// What is wrong with a text as metadata_proxy_shared_secret, by which the API believes an agent:
/// the predicate of a sentence about it. Empty: nothing is.
[[nodiscard]] constexpr std::string_view fault_of_secret(std::string_view secret) {
  if (secret.empty()) {
    return "is empty: whoever reaches the metadata API could sign requests for any instance; set "
           "the "
           "secret that agent and API share";
  }
  if (secret == "CHANGE-ME") {
    return "is a sample configuration's placeholder, which everybody knows; set a secret of your "
           "own, "
           "as of: openssl rand -hex 32";
  }
  return {};
}

}  // namespace metatap
