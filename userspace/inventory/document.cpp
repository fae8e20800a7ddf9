// SPDX-License-Identifier: Apache-2.0
#include "inventory/document.hpp"

#include <map>
#include <string>
#include <utility>

#include "inventory/check_references.hpp"
#include "inventory/document_places.hpp"
#include "inventory/fill_defaults.hpp"
#include "inventory/json_reader.hpp"
#include "inventory/read_objects.hpp"

namespace metatap {
namespace {

using json::in_quotes;
using json::Json;
using json::Node;
using json::Object;
using json::Refused;

enum class Form { whole, part };

/// A document's objects, put into an inventory.
struct Reading {
  Inventory inventory;
  DocumentPlaces places;
};

/// A part is put into what is stored; a whole document is all there is, but keeps what was decided
/// when its objects came.
Reading read(const Json& document, const Inventory& stored, Form form) {
  Reading reading{form == Form::part ? stored : Inventory{}, {}};
  auto& [inventory, places] = reading;
  const Node root(document);
  Object in(root);
  const auto format = form == Form::whole ? std::optional(in.need("format")) : in.find("format");
  if (format && format->text() != kDocumentFormat) {
    format->refuse(in_quotes(format->text()) + " is not " + in_quotes(kDocumentFormat));
  }
  FreshObjects fresh;
  const auto table = [&](std::string_view name, auto& objects, auto read_object, auto id_of,
                         std::string_view id_key) {
    std::map<std::string, std::size_t, std::less<>> seen;
    in.each(name, [&](const Node& node) {
      auto object = read_object(node);
      const std::string& id = id_of(*object);
      reading.places.add(name, id);
      const auto [first, is_first] = seen.try_emplace(id, seen.size());
      if (!is_first) {
        throw Refused{node.pointer() + "/" + std::string(id_key),
                      in_quotes(id) + " is /" + std::string(name) + "/" +
                          std::to_string(first->second) + "'s already"};
      }
      objects.insert_or_assign(id, std::move(object));
    });
  };
  const auto id = [](const auto& object) -> const std::string& { return object.id; };
  table("networks", inventory.networks, read_network, id, "id");
  table("subnets", inventory.subnets, read_subnet, id, "id");
  table("routers", inventory.routers, read_router, id, "id");
  table(
      "ports", inventory.ports,
      [&](const Node& node) { return fresh.ports.emplace_back(read_port(node)); }, id, "id");
  table(
      "instances", inventory.instances,
      [&](const Node& node) { return fresh.instances.emplace_back(read_instance(node)); },
      [](const Instance& instance) -> const std::string& { return instance.uuid; }, "uuid");
  in.done();
  fill_defaults(inventory, fresh, places, stored);
  if (form == Form::whole) {
    check_references(inventory, places);
  } else {
    check_references(inventory, places, stored);
  }
  return reading;
}

/// An error if the document would replace an object.
template <class T>
Status nothing_replaced(std::string_view table, const Inventory::Table<T>& base,
                        const Inventory::Table<T>& merged, const DocumentPlaces& places) {
  for (const auto& id : places.ids(table)) {
    const auto old = base.find(id);
    if (old != base.end() && *old->second != *merged.at(id)) {
      return fail(ErrorCode::conflict, "there is " + id + " already, in " + std::string(table));
    }
  }
  return {};
}

Status nothing_replaced(const Inventory& base, const Reading& reading) {
  const auto& [merged, places] = reading;
  for (const auto& status :
       {nothing_replaced("networks", base.networks, merged.networks, places),
        nothing_replaced("subnets", base.subnets, merged.subnets, places),
        nothing_replaced("routers", base.routers, merged.routers, places),
        nothing_replaced("ports", base.ports, merged.ports, places),
        nothing_replaced("instances", base.instances, merged.instances, places)}) {
    if (!status) {
      return status;
    }
  }
  return {};
}

tl::unexpected<Error> refused(const Refused& error) {
  return fail(ErrorCode::invalid,
              (error.pointer.empty() ? "the document" : error.pointer) + ": " + error.reason);
}

}  // namespace

Result<Inventory> parse_document(std::string_view text, const Inventory& stored) {
  const auto document = json::parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  try {
    return read(*document, stored, Form::whole).inventory;
  } catch (const Refused& error) {
    return refused(error);
  }
}

Result<Inventory> merge_document(const Inventory& base, std::string_view text, Existing existing) {
  auto document = json::parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  if (document->is_object() && document->contains("uuid")) {
    Json instances = Json::array({*std::move(document)});
    document = Json{{"instances", std::move(instances)}};
  }
  try {
    auto reading = read(*document, base, Form::part);
    if (existing == Existing::refuse) {
      if (auto status = nothing_replaced(base, reading); !status) {
        return tl::make_unexpected(std::move(status.error()));
      }
    }
    return std::move(reading.inventory);
  } catch (const Refused& error) {
    return refused(error);
  }
}

}  // namespace metatap
