// SPDX-License-Identifier: Apache-2.0
#include "libvirt/guest_book.hpp"

#include <utility>

#include "base/text.hpp"
#include "inventory/document.hpp"
#include "inventory/json_reader.hpp"
#include "libvirt/guest_directory.hpp"

namespace metatap::libvirt {
namespace {

using json::Json;

constexpr auto kDefault = "default";

/// A guest of `guests` (docs/inventory.md).
Json guest_of(const Domain& domain, const GuestData& data) {
  Json guest{{"name", domain.name}, {"id", domain.uuid}};
  const auto put = [&](const char* key, const std::string& text) {
    if (!text.empty()) {
      guest[key] = text;
    }
  };
  put("hostname", data.hostname);
  put("project_id", data.project_id);
  if (!data.ssh_keys.empty()) {
    guest["ssh_keys"] = data.ssh_keys;
  }
  if (data.user_data) {
    guest["user_data"] = {{"base64", base64_encoded(*data.user_data)}};
  }
  if (data.vendor_data) {
    guest["vendor_data"] = {{"base64", base64_encoded(*data.vendor_data)}};
  }
  for (const auto& [key, value] : data.metadata) {
    guest["metadata"][key] = value;
  }
  Json& interfaces = guest["interfaces"] = Json::array();
  for (const auto& each : domain.interfaces) {
    interfaces.push_back({{"device", each.device}, {"mac", each.mac}, {"network", each.network}});
  }
  return guest;
}

std::string text_of(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json document_of(Json guests) {
  return {{"format", kDocumentFormat}, {"guests", std::move(guests)}};
}

/// Empty: the guest alone makes sense.
std::string mistake_in(const Json& guest) {
  const auto read = parse_document(text_of(document_of(Json::array({guest}))));
  return read ? "" : read.error().message;
}

void add(std::string& problems, const std::string& problem) {
  if (!problem.empty()) {
    problems += (problems.empty() ? "" : "; ") + problem;
  }
}

}  // namespace

void GuestBook::look_for_data(Entry& entry) const {
  auto data = entry.domain.data;
  if (data && !*data) {
    data = read_guest_directory(guests_ / entry.domain.name);
  }
  if (data && !*data) {
    data = read_guest_directory(guests_ / kDefault);
  }
  if (!data) {
    entry.problem = data.error().message;
    return;
  }
  const auto fresh = data->value_or(GuestData{});
  entry.problem = mistake_in(guest_of(entry.domain, fresh));
  if (entry.problem.empty()) {
    entry.data = fresh;
  }
}

void GuestBook::put(const std::string& uuid, std::string_view xml) {
  auto domain = parse_domain(xml);
  if (!domain) {
    unreadable_[uuid] = domain.error().message;
    return;
  }
  unreadable_.erase(uuid);
  const auto [entry, fresh] = entries_.try_emplace(uuid, Entry{*domain, {}, {}});
  entry->second.domain = *std::move(domain);
  look_for_data(entry->second);
}

void GuestBook::remove(std::string_view uuid) {
  std::erase_if(entries_, [&](const auto& each) { return each.first == uuid; });
  std::erase_if(unreadable_, [&](const auto& each) { return each.first == uuid; });
}

void GuestBook::keep_only(const std::set<std::string, std::less<>>& uuids) {
  const auto gone = [&](const auto& each) { return !uuids.contains(each.first); };
  std::erase_if(entries_, gone);
  std::erase_if(unreadable_, gone);
}

void GuestBook::read_directories() {
  for (auto& [uuid, entry] : entries_) {
    look_for_data(entry);
  }
}

std::string GuestBook::document() {
  status_ = {.domains = entries_.size()};
  for (const auto& [uuid, reason] : unreadable_) {
    status_.problems[uuid] = reason;
  }
  Json guests = Json::array();
  std::map<std::string, std::string> owners;  // of devices, and of MACs in their networks
  for (const auto& [uuid, entry] : entries_) {
    std::string problems = entry.problem;
    for (const auto& reason : entry.domain.left_out) {
      add(problems, reason);
    }
    auto domain = entry.domain;
    std::erase_if(domain.interfaces, [&](const DomainInterface& each) {
      for (const auto& claim :
           {"device " + each.device, each.mac + " of network " + each.network}) {
        if (const auto owner = owners.try_emplace(claim, entry.domain.name).first;
            owner->second != entry.domain.name) {
          add(problems, claim + " is " + owner->second + "'s already");
          return true;
        }
      }
      return false;
    });
    if (!domain.interfaces.empty()) {
      auto guest = guest_of(domain, entry.data);
      if (const auto mistake = mistake_in(guest); !mistake.empty()) {
        add(problems, mistake);
      } else {
        status_.interfaces += domain.interfaces.size();
        guests.push_back(std::move(guest));
      }
    }
    if (!problems.empty()) {
      status_.problems[entry.domain.name] = problems;
    }
  }
  return text_of(document_of(std::move(guests)));
}

std::vector<std::filesystem::path> GuestBook::directories() const {
  std::vector<std::filesystem::path> all{guests_, guests_ / kDefault};
  for (const auto& [uuid, entry] : entries_) {
    all.push_back(guests_ / entry.domain.name);
  }
  return all;
}

}  // namespace metatap::libvirt
