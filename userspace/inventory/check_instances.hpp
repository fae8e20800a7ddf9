// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/document_places.hpp"
#include "inventory/fill_defaults.hpp"

namespace metatap {

/// Refuses what an instance of a document says that Nova cannot have, and that a guest would be
/// told as it is: a key without its bytes, an empty name, a line break in one. To be called once
/// defaults are filled in. Notes each as a mistake. Stored instances are not asked: what was taken
/// once is kept.
void check_instances(const FreshObjects& fresh, const DocumentPlaces& places,
                     json::Mistakes& mistakes);

}  // namespace metatap
