// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace metatap {

/// Which objects a document brings, and where they stand in it.
class DocumentPlaces {
 public:
  /// How the document calls a member of the object, where it has a word of its own for it.
  using Words = std::span<const std::pair<std::string_view, std::string_view>>;
  struct Place {
    std::string pointer;
    Words words;
    bool good = true;  ///< false: a mistake was found in it, and its references are not looked at

    [[nodiscard]] std::string pointer_to(std::string_view member) const {
      const auto word = std::ranges::find_if(
          words, [&](const auto& each) { return member.starts_with(each.first); });
      return word == words.end() ? pointer + std::string(member)
                                 : pointer + std::string(word->second) +
                                       std::string(member.substr(word->first.size()));
    }
  };

  /// False: an object of that id is there already.
  bool add(std::string_view table, const std::string& id, Place place) {
    auto& objects = tables_[table];
    if (!objects.places.try_emplace(id, std::move(place)).second) {
      return false;
    }
    objects.ids.push_back(id);
    return true;
  }

  [[nodiscard]] bool has(std::string_view table, const std::string& id) const {
    return find(table, id) != nullptr;
  }
  /// In the order of the document.
  [[nodiscard]] const std::vector<std::string>& ids(std::string_view table) const {
    static const std::vector<std::string> kNone;
    const auto found = tables_.find(table);
    return found == tables_.end() ? kNone : found->second.ids;
  }

  /// The JSON pointer to a member of an object; the id stands for the place of an object that is
  /// not in the document.
  [[nodiscard]] std::string pointer(std::string_view table, const std::string& id,
                                    std::string_view member) const {
    const auto* place = find(table, id);
    return place == nullptr ? "/" + std::string(table) + "/" + id + std::string(member)
                            : place->pointer_to(member);
  }
  [[nodiscard]] bool good(std::string_view table, const std::string& id) const {
    const auto* place = find(table, id);
    return place == nullptr || place->good;
  }

 private:
  struct Objects {
    std::vector<std::string> ids;
    std::unordered_map<std::string, Place> places;
  };
  [[nodiscard]] const Place* find(std::string_view table, const std::string& id) const {
    const auto objects = tables_.find(table);
    if (objects == tables_.end()) {
      return nullptr;
    }
    const auto place = objects->second.places.find(id);
    return place == objects->second.places.end() ? nullptr : &place->second;
  }

  std::map<std::string_view, Objects> tables_;  ///< by the table's name, a literal
};

}  // namespace metatap
