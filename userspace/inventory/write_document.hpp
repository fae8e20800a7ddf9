// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "metatap/model.hpp"

/// From objects to JSON: what is null, empty or the default is left out.
namespace metatap {

/// The document of an inventory. Reading it gives the same inventory again.
std::string write_document(const Inventory& inventory);

/// One object, as it stands in the document.
std::string write_object(const Network& network);
std::string write_object(const Subnet& subnet);
std::string write_object(const Router& router);
std::string write_object(const Port& port);
std::string write_object(const Instance& instance);

/// An instance without its network cache, which is text already.
std::string write_without_network_info(const Instance& instance);

}  // namespace metatap
