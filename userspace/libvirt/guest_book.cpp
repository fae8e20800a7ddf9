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

/// Others would lead out of the guests' folder.
bool is_folder_name(std::string_view name) {
  return name != "." && name != ".." && name.find('/') == std::string_view::npos;
}

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

void replace_all(std::string& text, std::string_view old, std::string_view fresh) {
  for (auto at = text.find(old); at != std::string::npos; at = text.find(old, at + fresh.size())) {
    text.replace(at, old.size(), fresh);
  }
}

/// What is wrong with that guest alone, by its own keys. Empty: nothing.
std::string mistake_in(const Json& guest) {
  const auto read = parse_document(text_of(document_of(Json::array({guest}))));
  auto said = read ? std::string() : read.error().message;
  replace_all(said, "/guests/0: ", "");
  replace_all(said, "/guests/0/", "");
  replace_all(said, "\n", "; ");
  return said;
}

void add(std::string& problems, const std::string& problem) {
  if (!problem.empty()) {
    problems += (problems.empty() ? "" : "; ") + problem;
  }
}

std::string claim_of_device(const std::string& device) {
  return "device " + device;
}
std::string claim_of_mac(const std::string& mac, const std::string& network) {
  return mac + " of network " + network;
}

/// What an instance was told, as far as a guest in few words says it.
GuestData data_of(const Instance& instance) {
  GuestData data{.hostname = instance.hostname,
                 .project_id = instance.project_id,
                 .ssh_keys = {},
                 .user_data = {},
                 .vendor_data = instance.vendor_data,
                 .metadata = instance.metadata};
  for (const auto& pair : instance.keypairs) {
    data.ssh_keys.push_back(pair.public_key);
  }
  if (instance.user_data) {
    data.user_data = base64_decoded(*instance.user_data);
  }
  return data;
}

}  // namespace

GuestBook::GuestBook(std::filesystem::path guests, const Inventory& former)
    : guests_(std::move(guests)) {
  for (const auto& [uuid, instance] : former.instances) {
    remembered_.emplace(uuid, data_of(*instance));
  }
  for (const auto& [id, port] : former.ports) {
    if (port->device) {
      holders_[claim_of_device(*port->device)] = port->device_id;
    }
    if (const auto network = former.networks.find(port->network_id);
        network != former.networks.end()) {
      holders_[claim_of_mac(port->mac_address, network->second->name)] = port->device_id;
    }
  }
}

/// The first that there is.
Result<GuestData> GuestBook::read_data(const Domain& domain) const {
  auto data = domain.data;
  for (const auto& name : {domain.name, std::string(kDefault)}) {
    if (data && !*data && is_folder_name(name)) {
      data = read_guest_directory(guests_ / name);
    }
  }
  return data.map([](auto found) { return found.value_or(GuestData{}); });
}

void GuestBook::look_for_data(Entry& entry) const {
  auto fresh = read_data(entry.domain);
  if (!fresh) {
    entry.problem = fresh.error().message;
  } else {
    const Domain anywhere{
        entry.domain.name, entry.domain.uuid, {{"none", "02:00:00:00:00:01", "none"}}, {}, {}};
    entry.problem = mistake_in(guest_of(anywhere, *fresh));
  }
  if (entry.problem.empty()) {
    entry.data = *std::move(fresh);
  } else {
    entry.problem += entry.data ? "; it is told on what it was told before"
                                : "; it is not served until that makes sense";
  }
}

void GuestBook::put(const std::string& uuid, std::string_view xml) {
  auto domain = parse_domain(xml);
  if (!domain) {
    unreadable_[uuid] = domain.error().message;
    return;
  }
  std::erase_if(domain->interfaces, [&](const DomainInterface& each) {
    const auto mistake = mistake_in(guest_of({domain->name, domain->uuid, {each}, {}, {}}, {}));
    if (!mistake.empty()) {
      domain->left_out.push_back("interface " + each.mac + ": " + mistake);
    }
    return !mistake.empty();
  });
  unreadable_.erase(uuid);
  const auto [entry, fresh] = entries_.try_emplace(uuid, Entry{*domain, {}, {}});
  if (const auto before = remembered_.find(uuid); before != remembered_.end()) {
    entry->second.data = std::move(before->second);
    remembered_.erase(before);
  }
  entry->second.domain = *std::move(domain);
  look_for_data(entry->second);
}

void GuestBook::remove(std::string_view uuid) {
  const auto is_it = [&](const auto& each) { return each.first == uuid; };
  std::erase_if(entries_, is_it);
  std::erase_if(unreadable_, is_it);
}

void GuestBook::keep_only(const std::set<std::string, std::less<>>& uuids) {
  const auto gone = [&](const auto& each) { return !uuids.contains(each.first); };
  std::erase_if(entries_, gone);
  std::erase_if(unreadable_, gone);
  remembered_.clear();
}

void GuestBook::read_directories() {
  for (auto& [uuid, entry] : entries_) {
    look_for_data(entry);
  }
}

/// Who had something last has it while he still claims it; else the first who does.
void GuestBook::settle_claims() {
  Texts holders;
  for (const bool by_former : {true, false}) {
    for (const auto& [uuid, entry] : entries_) {
      for (const auto& each : entry.domain.interfaces) {
        for (auto& claim : {claim_of_device(each.device), claim_of_mac(each.mac, each.network)}) {
          const auto former = holders_.find(claim);
          if (!by_former || (former != holders_.end() && former->second == uuid)) {
            holders.try_emplace(claim, uuid);
          }
        }
      }
    }
  }
  holders_ = std::move(holders);
}

/// The domain with the interfaces that are its alone, each once.
Domain GuestBook::what_is_its_own(const Entry& entry, std::string& problems) const {
  auto domain = entry.domain;
  std::set<std::string> seen;
  std::erase_if(domain.interfaces, [&](const DomainInterface& each) {
    for (const auto& claim : {claim_of_device(each.device), claim_of_mac(each.mac, each.network)}) {
      const auto& holder = entries_.find(holders_.at(claim))->second;
      if (&holder != &entry) {
        add(problems, claim + " is " + holder.domain.name + "'s already");
        return true;
      }
    }
    const bool again = !seen.insert(each.device).second || !seen.insert(each.mac).second;
    if (again) {
      add(problems, "device " + each.device + ", MAC " + each.mac + ": it has two of these");
    }
    return again;
  });
  return domain;
}

std::string GuestBook::document() {
  status_ = {.domains = entries_.size()};
  for (const auto& [uuid, reason] : unreadable_) {
    status_.problems[uuid] = reason;
  }
  settle_claims();
  Json guests = Json::array();
  for (const auto& [uuid, entry] : entries_) {
    std::string problems = entry.problem;
    for (const auto& reason : entry.domain.left_out) {
      add(problems, reason);
    }
    const auto domain = what_is_its_own(entry, problems);
    if (entry.data && !domain.interfaces.empty()) {
      status_.interfaces += domain.interfaces.size();
      guests.push_back(guest_of(domain, *entry.data));
      if (!domain.says_openstack) {
        status_.silent_on_openstack.insert(domain.name);
      }
    }
    if (!problems.empty()) {
      status_.problems[domain.name] = problems;
    }
  }
  return text_of(document_of(std::move(guests)));
}

std::vector<std::filesystem::path> GuestBook::directories() const {
  std::vector<std::filesystem::path> all{guests_.parent_path(), guests_, guests_ / kDefault};
  for (const auto& [uuid, entry] : entries_) {
    if (is_folder_name(entry.domain.name)) {
      all.push_back(guests_ / entry.domain.name);
    }
  }
  return all;
}

}  // namespace metatap::libvirt
