// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "metatap/unique_fd.hpp"

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

/// So many descriptors the manager keeps from this process to the next (FileDescriptorStoreMax= of
/// the unit, told as FDSTORE); 0: none.
[[nodiscard]] std::size_t descriptor_store();
/// Has it keep a descriptor under that name, which has no colon. False: it could not be told. What
/// it has no room for it leaves out without a word; of a socket that was shut down it lets go.
[[nodiscard]] bool store_descriptor(std::string_view name, int fd);
/// It need not keep it any more.
void drop_stored_descriptor(std::string_view name);
/// What it has kept for us. Once.
[[nodiscard]] std::vector<UniqueFd> stored_descriptors();

}  // namespace metatap::sys
