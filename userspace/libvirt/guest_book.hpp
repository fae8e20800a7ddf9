// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libvirt/domain.hpp"

namespace metatap::libvirt {

/// The running domains and what each guest is to be told, as a document of the inventory. One that
/// makes no sense is left out by name, and the others stay; of one that did make sense before, what
/// it was told then is told on. No connection in here; one thread at a time.
class GuestBook {
 public:
  /// `guests`: the folder with a directory for each guest, and one called "default".
  explicit GuestBook(std::filesystem::path guests) : guests_(std::move(guests)) {}

  /// A domain that runs, by its live XML; the same again when anything of it has changed.
  void put(const std::string& uuid, std::string_view xml);
  void remove(std::string_view uuid);
  /// Only these run.
  void keep_only(const std::set<std::string, std::less<>>& uuids);
  /// The directories may have changed.
  void read_directories();

  /// All that can be served.
  [[nodiscard]] std::string document();

  struct Status {
    std::size_t domains = 0, interfaces = 0;
    std::map<std::string, std::string> problems;  ///< by domain: what of it is not as it says
  };
  /// As of the last document().
  [[nodiscard]] const Status& status() const { return status_; }
  /// Directories of which a change matters.
  [[nodiscard]] std::vector<std::filesystem::path> directories() const;

 private:
  struct Entry {
    Domain domain;
    GuestData data;       ///< the last that made sense
    std::string problem;  ///< of its data; empty: none
  };
  void look_for_data(Entry& entry) const;

  const std::filesystem::path guests_;
  std::map<std::string, Entry, std::less<>> entries_;           ///< by uuid
  std::map<std::string, std::string, std::less<>> unreadable_;  ///< uuids, and why
  Status status_;
};

}  // namespace metatap::libvirt
