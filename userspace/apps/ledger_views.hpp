// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "admin/registry.hpp"
#include "ledger/ledger.hpp"

namespace metatap::apps {

/// How the access ledger is shown: where it is, what it lost, and why it cannot be written. Its
/// last link is there to be noted elsewhere: who rewrites the files cannot rewrite that.
void show(admin::Registry& registry, const ledger::Ledger& ledger);

}  // namespace metatap::apps
