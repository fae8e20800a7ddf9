// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

/// What systemd is told (sd_notify(3)). Without a manager each call does nothing. Nobody waits for
/// a manager that does not read: what it has no room for is lost, but for readiness, which is given
/// five seconds.
namespace metatap::sys {

void notify_ready(std::string_view status);
void notify_status(std::string_view status);
void notify_stopping();
void notify_watchdog();
/// How often the manager wants to hear from us; nullopt when it does not.
[[nodiscard]] std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace metatap::sys
