// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "inventory/document_places.hpp"
#include "inventory/json_reader.hpp"
#include "inventory/port_index.hpp"
#include "metatap/model.hpp"

namespace metatap {

/// Objects just read and in the inventory already, still open to their defaults.
struct FreshObjects {
  std::vector<std::shared_ptr<Port>> ports;
  std::vector<std::shared_ptr<Instance>> instances;
};

/// Fills in what a person who writes a document by hand may leave out and Nova always has:
/// project_id, display_name, hostname, availability_zone, flavor, and of a key what `keypairs`
/// says; and the subnet of an address that one alone of its network has. Notes as a mistake where
/// a project cannot be told.
///
/// What is decided when an object comes is kept as it is in `stored`: a host name, which does not
/// follow a new display name, and a port's place among its device's ports. A port that comes, or
/// moves to another device, is the last one there; several are in the document's order. `others`:
/// the ports of the inventory that are not the document's, and may also have those of that name
/// that the document replaces.
void fill_defaults(const Inventory& inventory, const FreshObjects& fresh,
                   const DocumentPlaces& places, const Inventory& stored, const PortIndex& others,
                   json::Mistakes& mistakes);

}  // namespace metatap
