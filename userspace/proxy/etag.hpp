// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::proxy {

/// The entity tag of a body (RFC 9110 §8.8.3), as the header has it: the same content has the same
/// tag, whichever process gives it and whichever stage is behind. The random seed of
/// meta_data.json, which is new in every answer, is no part of it; such a tag is a weak one.
[[nodiscard]] std::string etag_of(const Body& body);

/// Whether a list of tags, as If-None-Match has it, names this one (by RFC 9110's weak comparison)
/// or any (`*`). A tag that lost its quotes on the way through a URL is one all the same.
[[nodiscard]] bool names_etag(std::string_view list, std::string_view etag);

}  // namespace metatap::proxy
