// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "http/count.hpp"
#include "proxy/admission.hpp"
#include "proxy/counters.hpp"

namespace metatap::proxy {

/// What a connection is refused for: as it is counted, in a word, and in the log.
struct RefusalInfo {
  http::Count WorkerCounters::* counter;
  std::string_view word, sentence;
};

[[nodiscard]] RefusalInfo info_of(Refusal refusal);

}  // namespace metatap::proxy
