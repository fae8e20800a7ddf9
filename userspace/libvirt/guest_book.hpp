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
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap::libvirt {

/// The running domains and what each guest is to be told, as a document of the inventory. What
/// makes no sense is named, and the rest goes on: a guest whose data did make sense before is told
/// that on, one whose data never did is left out, because half of it is what cloud-init would take
/// for all; an interface is left out alone. Of two claims to a device or MAC the one that was there
/// first stays. No connection in here; one thread at a time.
class GuestBook {
 public:
  /// `guests`: the folder with a directory for each guest, and one called "default". `former`: what
  /// was served before this process; who is in there when his domain is put is known from before.
  explicit GuestBook(std::filesystem::path guests, const Inventory& former = {});

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
    /// Domains of which cloud-init cannot tell by their machine that it is to ask (Domain).
    std::set<std::string> silent_on_openstack;
  };
  /// As of the last document().
  [[nodiscard]] const Status& status() const { return status_; }
  /// Directories of which a change matters.
  [[nodiscard]] std::vector<std::filesystem::path> directories() const;

 private:
  struct Entry {
    Domain domain;
    std::optional<GuestData> data;  ///< the last that made sense
    std::string problem;            ///< of its data; empty: none
  };
  /// By uuid.
  using Entries = std::map<std::string, Entry, std::less<>>;
  using Texts = std::map<std::string, std::string, std::less<>>;

  [[nodiscard]] Result<GuestData> read_data(const Domain& domain) const;
  void look_for_data(Entry& entry) const;
  void settle_claims();
  [[nodiscard]] Domain what_is_its_own(const Entry& entry, std::string& problems) const;

  const std::filesystem::path guests_;
  std::map<std::string, GuestData, std::less<>> remembered_;  ///< of `former`, until they are put
  Entries entries_;
  Texts unreadable_;  ///< uuids, and why
  Texts holders_;     ///< of devices, and of MACs in their networks: uuids
  Status status_;
};

}  // namespace metatap::libvirt
