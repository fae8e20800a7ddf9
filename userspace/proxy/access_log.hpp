// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"

namespace metatap::proxy {

/// One answer to a guest, as the access log has it; docs/operations.md says what each field means.
struct AccessEntry {
  const Caller& caller;
  std::string_view instance;         ///< empty: not known
  const Request* request = nullptr;  ///< null: what came was none
  unsigned status = 0;
  std::size_t bytes = 0;                ///< of the body
  std::chrono::milliseconds read{0};    ///< from the request's first bytes to its last
  std::chrono::microseconds stages{0};  ///< until the stages behind had the answer
  std::chrono::microseconds write{0};   ///< until the kernel had taken it
  /// In one word, why the proxy answered without asking the stages behind; empty: they did.
  std::string_view reason;
};

/// A line without its end. Nothing in it is a secret: no header and no body; what a guest chose is
/// quoted and cut.
[[nodiscard]] std::string line_of(const AccessEntry& entry);

}  // namespace metatap::proxy
