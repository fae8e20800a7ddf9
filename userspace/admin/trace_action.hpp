// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>

#include "admin/registry.hpp"
#include "admin/trace_log.hpp"

namespace metatap::admin {

/// GET /v1/trace?after=N: the lines after that one, as soon as there are some, and the number to
/// ask for next: {"next": N, "lost": 0, "lines": […]}. Without `after`: from now on. Who asks looks
/// on for a few seconds more; `look_on` tells so whoever else has something to say. All outlive the
/// server that serves the registry.
void register_trace(Registry& registry, boost::asio::io_context& control, TraceLog& log,
                    std::function<void(std::chrono::milliseconds)> look_on);

}  // namespace metatap::admin
