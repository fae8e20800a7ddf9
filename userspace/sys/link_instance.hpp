// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace metatap::sys {

/// A number that no other device has had or will have while this host runs: not one that has its
/// name or its ifindex after it. It is the kernel's number of the device's directory in sysfs,
/// which never comes back (kernfs). Where sysfs shows another namespace's devices, or none, it is
/// made of the ifindex, which comes back only if somebody asks for that. Never 0.
[[nodiscard]] std::uint64_t link_instance(const std::string& name, unsigned ifindex);

}  // namespace metatap::sys
