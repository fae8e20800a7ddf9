// SPDX-License-Identifier: Apache-2.0
#include "inventory/document.hpp"

#include <array>
#include <string>
#include <utility>

#include "inventory/check_instances.hpp"
#include "inventory/check_references.hpp"
#include "inventory/document_keys.hpp"
#include "inventory/document_places.hpp"
#include "inventory/fill_defaults.hpp"
#include "inventory/guest.hpp"
#include "inventory/json_reader.hpp"
#include "inventory/port_index.hpp"
#include "inventory/read_objects.hpp"

namespace metatap {
namespace {

using json::in_quotes;
using json::Json;
using json::Key;
using json::Keys;
using json::Node;
using json::Shape;

/// What a guest calls the members of its objects.
constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kInstanceWords{
    {{"/uuid", "/id"},
     {"/keypairs", "/ssh_keys"},
     {"/key_data", "/ssh_keys"},
     {"/key_name", "/ssh_keys"}}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kPortWords{
    {{"/mac_address", "/mac"}, {"/fixed_ips", "/addresses"}, {"/id", ""}}};

/// A document's objects, put into an inventory.
struct Contents {
  Inventory inventory;
  DocumentPlaces places;
  FreshObjects fresh;
};

std::shared_ptr<Port> keep(Contents& into, std::shared_ptr<Port> port) {
  return into.fresh.ports.emplace_back(std::move(port));
}
std::shared_ptr<Instance> keep(Contents& into, std::shared_ptr<Instance> instance) {
  return into.fresh.instances.emplace_back(std::move(instance));
}
template <class T>
std::shared_ptr<T> keep(Contents&, std::shared_ptr<T> object) {
  return object;
}

/// Puts an object in, unless the document has one of its id already.
template <class T>
void put(Contents& into, Inventory::Table<T> Inventory::* table, std::string_view name,
         const std::string& id, std::shared_ptr<T> object, const Node& node,
         DocumentPlaces::Place place) {
  if (id.empty()) {
    return;  // it is required, and that has been noted
  }
  const auto at = place.pointer_to(name == "instances" ? "/uuid" : "/id");
  if (!into.places.add(name, id, std::move(place))) {
    node.reading().mistakes.add(
        at, in_quotes(id) + " is " + into.places.pointer(name, id, "") + "'s already");
    return;
  }
  (into.inventory.*table).insert_or_assign(id, keep(into, std::move(object)));
}

/// An entry of the document: a list of objects of one kind.
template <class T>
json::Field<Contents> table(std::string_view name, std::string_view in,
                            Inventory::Table<T> Inventory::* into, std::string T::* id,
                            const Keys<T>& keys, std::string_view note) {
  Shape shape{Shape::Kind::object, true};
  shape.keys = keys.list();
  return json::special<Contents>(
      name, std::move(shape), note, [=, &keys](const Node& at, Contents& contents) {
        at.each([&](const Node& item) {
          const auto before = item.reading().mistakes.count();
          auto object = json::read(item, keys);
          const bool good = item.reading().mistakes.count() == before;
          put(contents, into, in, (*object).*id, object, item, {item.pointer(), {}, good});
        });
      });
}

void put_guest(const Node& node, Contents& into) {
  const auto& mistakes = node.reading().mistakes;
  const auto before = mistakes.count();
  Guest guest;
  read_object(node, guest_keys(), guest);
  const auto made = objects_of(guest, node, into.inventory);
  const bool good = mistakes.count() == before;
  const auto at = node.pointer();
  put(into, &Inventory::instances, "instances", made.instance->uuid, made.instance, node,
      {at, kInstanceWords, good});
  for (const auto& [port, plug] : made.ports) {
    put(into, &Inventory::ports, "ports", port->id, port, node, {at + plug, kPortWords, good});
  }
}

json::Field<Contents> guests() {
  Shape shape{Shape::Kind::object, true};
  shape.keys = guest_keys().list();
  return json::special<Contents>("guests", std::move(shape),
                                 "Guests in few words: what follows is implied",
                                 [](const Node& at, Contents& contents) {
                                   at.each([&](const Node& item) { put_guest(item, contents); });
                                 });
}

const Keys<Contents>& contents_keys() {
  Shape format{Shape::Kind::choice};
  format.choices = {kDocumentFormat};
  static const Keys<Contents> keys{
      {json::special<Contents>("format", format, "What it is; needed but for `metatap instance`",
                               [](const Node& at, Contents&) {
                                 if (at.text() != kDocumentFormat) {
                                   at.refuse(in_quotes(at.text()) + " is not " +
                                             in_quotes(kDocumentFormat));
                                 }
                               }),
       table("networks", "networks", &Inventory::networks, &Network::id, network_keys(),
             "As Neutron's API shows them"),
       table("subnets", "subnets", &Inventory::subnets, &Subnet::id, subnet_keys(),
             "As Neutron's API shows them"),
       table("routers", "routers", &Inventory::routers, &Router::id, router_keys(),
             "As Neutron's API shows them"),
       table("ports", "ports", &Inventory::ports, &Port::id, port_keys(),
             "As Neutron's API shows them"),
       table("instances", "instances", &Inventory::instances, &Instance::uuid, instance_keys(),
             "As Nova has them"),
       table("servers", "instances", &Inventory::instances, &Instance::uuid, server_keys(),
             "The same as Nova's API shows them"),
       guests()},
      {},
      nullptr};
  return keys;
}

enum class Form { whole, part };

/// A part is put into what is stored; a whole document is all there is, but keeps what was decided
/// when its objects came. Guests come last in the table, and so after the networks they name.
/// `index`: of what is stored, where that stays.
Contents read(const Json& document, const Inventory& stored, const PortIndex* index,
              json::Reading& reading) {
  const Form form = index == nullptr ? Form::whole : Form::part;
  Contents contents{form == Form::part ? stored : Inventory{}, {}, {}};
  const Node root(document, reading);
  auto& mistakes = reading.mistakes;
  mistakes.note([&] {
    read_object(root, contents_keys(), contents);
    if (form == Form::whole && !says(root, "format")) {
      mistakes.add("", "\"format\" is required");
    }
  });
  static const PortIndex kNoOthers;
  fill_defaults(contents.inventory, contents.fresh, contents.places, stored,
                form == Form::whole ? kNoOthers : *index, mistakes);
  check_instances(contents.fresh, contents.places, mistakes);
  if (form == Form::whole) {
    check_references(contents.inventory, contents.places, mistakes);
  } else {
    check_references(contents.inventory, contents.places, stored, *index, mistakes);
  }
  return contents;
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

Status nothing_replaced(const Inventory& base, const Contents& contents) {
  const auto& merged = contents.inventory;
  const auto& places = contents.places;
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

/// One object alone, as the only one of its table.
Json as_document(Json object) {
  for (const auto& [table, key] : {std::pair("instances", "uuid"), std::pair("guests", "device"),
                                   std::pair("guests", "interfaces")}) {
    if (object.is_object() && object.contains(key)) {
      Json items = Json::array({std::move(object)});
      return Json{{table, std::move(items)}};
    }
  }
  if (object.is_object() && object.contains("server")) {  // GET /servers/UUID
    Json items = Json::array({object["server"]});
    return Json{{"servers", std::move(items)}};
  }
  return object;
}

}  // namespace

const json::KeyList& document_keys() {
  static const auto keys = contents_keys().list();
  return *keys;
}

Result<Inventory> parse_document(std::string_view text, const Inventory& stored,
                                 const DocumentFiles& files) {
  const auto document = json::parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  json::Reading reading{{}, files};
  auto contents = read(*document, stored, nullptr, reading);
  if (reading.mistakes.count() != 0) {
    return tl::make_unexpected(reading.mistakes.error());
  }
  return std::move(contents.inventory);
}

Result<Inventory> merge_document(const Inventory& base, const PortIndex& index,
                                 std::string_view text, Existing existing) {
  auto parsed = json::parse(text);
  if (!parsed) {
    return tl::make_unexpected(parsed.error());
  }
  const auto document = as_document(*std::move(parsed));
  json::Reading reading;
  auto contents = read(document, base, &index, reading);
  if (reading.mistakes.count() != 0) {
    return tl::make_unexpected(reading.mistakes.error());
  }
  if (existing == Existing::refuse) {
    if (auto status = nothing_replaced(base, contents); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
  }
  return std::move(contents.inventory);
}

std::string on_one_line(std::string mistakes) {
  for (auto at = mistakes.find('\n'); at != std::string::npos; at = mistakes.find('\n', at)) {
    mistakes.replace(at, 1, "; ");
  }
  return mistakes;
}

}  // namespace metatap
