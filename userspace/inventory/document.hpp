// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// The inventory document, `metatap-inventory/1`: one JSON text that holds everything. Reading is
/// strict: an unknown or repeated key, a wrong type, an address that is none, a reference to
/// nothing or a claim made twice is refused with its JSON pointer and the reason, and then nothing
/// of the document is taken.
namespace metatap {

/// The inventory the document describes, with the defaults of a hand-written one filled in
/// (display_name, hostname, project_id). EC2 and reservation ids are the store's to give.
/// `admin_pass` is accepted and dropped: it is never kept.
Result<Inventory> parse_document(std::string_view text);

/// `base` with the objects of a document put in, each replacing the one of its id. The document may
/// leave "format" out, or be the JSON object of one instance. The whole is checked as
/// parse_document checks it, and keeps the revision of `base`.
Result<Inventory> merge_document(const Inventory& base, std::string_view text);

/// The document of an inventory. Reading it gives the same inventory again.
std::string write_document(const Inventory& inventory);

/// One object as JSON, as it stands in the document.
std::string write_object(const Network& network);
std::string write_object(const Subnet& subnet);
std::string write_object(const Router& router);
std::string write_object(const Port& port);
std::string write_object(const Instance& instance);

/// How a store keeps one instance: the network cache apart, so that reading it back need not parse
/// what is only carried.
struct StoredInstance {
  std::string body;
  std::optional<std::string> network_info;
};
StoredInstance freeze(const Instance& instance);
Result<std::shared_ptr<const Instance>> thaw_instance(std::string_view body,
                                                      std::optional<std::string> network_info);
Result<std::shared_ptr<const Network>> thaw_network(std::string_view body);
Result<std::shared_ptr<const Subnet>> thaw_subnet(std::string_view body);
Result<std::shared_ptr<const Router>> thaw_router(std::string_view body);
Result<std::shared_ptr<const Port>> thaw_port(std::string_view body);

}  // namespace metatap
