// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace metatap {

/// Which objects a document brings, and where they stand in it.
class DocumentPlaces {
 public:
  void add(std::string_view table, const std::string& id) { ids_[table].push_back(id); }

  /// In the order of the document.
  [[nodiscard]] const std::vector<std::string>& ids(std::string_view table) const {
    static const std::vector<std::string> kNone;
    const auto found = ids_.find(table);
    return found == ids_.end() ? kNone : found->second;
  }

  /// The JSON pointer to a member of an object; the id stands for the place of an object that is
  /// not in the document. Looks through the table: to be asked only when the object is at fault.
  [[nodiscard]] std::string pointer(std::string_view table, const std::string& id,
                                    std::string_view member) const {
    const auto& known = ids(table);
    const auto found = std::ranges::find(known, id);
    const auto place = found == known.end() ? id : std::to_string(found - known.begin());
    return "/" + std::string(table) + "/" + place + std::string(member);
  }

 private:
  std::map<std::string_view, std::vector<std::string>> ids_;  ///< by the table's name, a literal
};

}  // namespace metatap
