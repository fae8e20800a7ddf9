// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::agent {

/// An error as WebOb writes it, which is what guests got from neutron-metadata-agent: HTML, JSON or
/// plain text after the request's Accept header, no body for HEAD. An empty message is the
/// status's standard sentence.
[[nodiscard]] Response error_page(const Request& request, unsigned status,
                                  std::string_view message = {});

}  // namespace metatap::agent
