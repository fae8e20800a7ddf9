// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/json_reader.hpp"
#include "metatap/model.hpp"

namespace metatap {

/// What an object's "metatap" says of access: "tokens", "boot_window" (seconds), "sealed",
/// "forwarded_inside", "syn_rate", "connections". May throw json::Refused.
[[nodiscard]] AccessPolicy read_access(json::Object& metatap);
/// The same of an object that has nothing else in its "metatap"; may be absent.
[[nodiscard]] AccessPolicy read_access_of(json::Object& object);

/// Adds what is said to an object for "metatap".
void write_access(json::Json& metatap, const AccessPolicy& policy);

}  // namespace metatap
