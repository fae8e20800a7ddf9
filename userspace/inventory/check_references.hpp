// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/document_places.hpp"
#include "inventory/json_reader.hpp"
#include "inventory/port_index.hpp"
#include "metatap/model.hpp"

/// What objects say of each other: whatever is referred to must be there, and what only one may
/// have (an address or a MAC of a network, a device, an EC2 id) must not be claimed twice.
///
/// Notes mistakes, naming the place in the document.
namespace metatap {

/// Checks everything; `places` are those of the whole inventory's document.
void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      json::Mistakes& mistakes);

/// Checks what the document's objects, put into `base`, may have broken. `index`: of the base.
void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      const Inventory& base, const PortIndex& index, json::Mistakes& mistakes);

}  // namespace metatap
