// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dataplane/place_settings.hpp"
#include "metatap/result.hpp"
#include "sys/netlink.hpp"

/// What a process that ended without a chance to tidy up has left inside a router's or DHCP
/// namespace. The calling thread is in it. Links go with their pins; filters have to be looked for.
namespace metatap::dataplane {

/// Ours, on these devices.
void remove_left_filters(const std::vector<sys::Link>& links);

/// All of it: filters, and the settings that the journal knows of. A namespace that it does not
/// know is left alone.
Status clear_place(PlaceJournal& journal);

}  // namespace metatap::dataplane
