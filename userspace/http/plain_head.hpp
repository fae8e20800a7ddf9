// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "metatap/exchange.hpp"

namespace metatap::http {

/// The head of a request as clients of metadata send it.
struct PlainHead {
  std::string_view method, target;
  std::size_t size = 0;  ///< in bytes, with the empty line
  bool keep_alive = true;
};

/// Reads the head at the beginning of `bytes` where it is as simple as nearly all of them are: GET
/// or HEAD of a path, HTTP/1.1, fields of printable ASCII (at most `most_fields`), none that speaks
/// of a body or an upgrade, all of it there. Then `fields` has its fields: views into `bytes`.
///
/// Nullopt says nothing of what is there: it is for Beast to decide, and `fields` is of no use.
/// What is read here Beast would read to the very same (RFC 9112 with no leniency at all).
[[nodiscard]] std::optional<PlainHead> read_plain_head(std::string_view bytes,
                                                       std::size_t most_fields,
                                                       std::vector<Header>& fields);

}  // namespace metatap::http
