// SPDX-License-Identifier: Apache-2.0
#include "sys/caps.hpp"

#include <cap-ng.h>

#include <algorithm>
#include <cctype>

namespace metatap::sys {

std::vector<std::string> missing_capabilities(const std::vector<unsigned>& wanted) {
  std::vector<std::string> missing;
  capng_get_caps_process();
  for (const unsigned capability : wanted) {
    const bool stand_in = capability == CAP_BPF || capability == CAP_PERFMON;
    if (capng_have_capability(CAPNG_EFFECTIVE, capability) != 0 ||
        (stand_in && capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN) != 0)) {
      continue;
    }
    const char* known = capng_capability_to_name(capability);
    std::string name = known == nullptr ? std::to_string(capability) : known;
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::toupper(c); });
    missing.push_back("CAP_" + name);
  }
  return missing;
}

}  // namespace metatap::sys
