// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

namespace metatap::importer {

/// In the order of the API's answers: guests see that of `metadata`.
using Json = nlohmann::ordered_json;

/// Objects as an API answers with them, reduced to what the inventory takes of them: so a port
/// whose status alone changed is the same as before, and an API that is newer than we are is no
/// mistake.
class KnownKeys {
 public:
  /// `table`: of the document ("ports", "servers"). Other keys go, and so does what is null; but
  /// those of `kept` stay as they are. A key that nobody knows is noted.
  void reduce(std::string_view table, Json& object, const std::set<std::string_view>& kept = {});

  /// "ports/binding:new": in how many objects there was a key that nobody knows.
  [[nodiscard]] const std::map<std::string, std::size_t>& unknown() const { return unknown_; }
  void forget() { unknown_.clear(); }

 private:
  std::map<std::string, std::size_t> unknown_;
};

}  // namespace metatap::importer
