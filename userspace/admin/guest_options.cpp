// SPDX-License-Identifier: Apache-2.0
#include "admin/guest_options.hpp"

#include <sstream>
#include <utility>

#include "base/file.hpp"
#include "base/text.hpp"
#include "inventory/json_reader.hpp"

namespace metatap::admin {
namespace {

using json::Json;

/// The lines of an authorized_keys file that are keys.
Json keys_in(const std::string& text) {
  Json keys = Json::array();
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (const auto key = trimmed(line, kWhiteSpace); !key.empty() && key.front() != '#') {
      keys.push_back(std::string(key));
    }
  }
  return keys;
}

}  // namespace

void GuestOptions::add_to(CLI::App& verb) {
  verb.add_option("--device", device_, "the host's device that it is plugged into");
  verb.add_option("--vlan", vlan_, "its tag there");
  verb.add_option("--mac", mac_, "its MAC");
  verb.add_option("--address", addresses_,
                  "one of its addresses, as 10.0.0.5/24; default: learned");
  verb.add_option("--network", network_, "name or id of its network");
  verb.add_option("--gateway", gateway_, "the router it is told of");
  verb.add_option("--dns", name_servers_, "a name server it is told of");
  verb.add_option("--hostname", hostname_, "default: of its name");
  verb.add_option("--ssh-key", ssh_keys_, "a file of public keys");
  verb.add_option("--user-data", user_data_, "a file of user data, - for standard input");
  verb.add_option("--vendor-data", vendor_data_, "a file of vendor data");
  verb.add_option("--project", project_, "whose it is");
  verb.add_option("--when-down", when_down_, "what becomes of its requests while metatapd is down")
      ->check(CLI::IsMember({"pass", "refuse"}));
}

bool GuestOptions::given() const {
  for (const auto* text : {&hostname_, &device_, &mac_, &network_, &gateway_, &project_,
                           &when_down_, &user_data_, &vendor_data_}) {
    if (!text->empty()) {
      return true;
    }
  }
  return vlan_ || !addresses_.empty() || !name_servers_.empty() || !ssh_keys_.empty();
}

Result<std::string> GuestOptions::document(const std::string& name, const FileReader& read) const {
  Json guest{{"name", name}};
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) {
      guest[key] = value;
    }
  };
  put("hostname", hostname_);
  put("device", device_);
  put("mac", mac_);
  put("network", network_);
  put("gateway", gateway_);
  put("project_id", project_);
  if (vlan_) {
    guest["vlan"] = *vlan_;
  }
  if (!addresses_.empty()) {
    guest["addresses"] = addresses_;
  }
  if (!name_servers_.empty()) {
    guest["dns"] = name_servers_;
  }
  if (!when_down_.empty()) {
    guest["metatap"] = {{"when_down", when_down_}};
  }
  for (const auto& [key, file] :
       {std::pair("user_data", &user_data_), std::pair("vendor_data", &vendor_data_)}) {
    if (!file->empty()) {
      auto bytes = read(*file);
      if (!bytes) {
        return bytes;
      }
      guest[key] = {{"base64", base64_encoded(*bytes)}};
    }
  }
  Json keys = Json::array();
  for (const auto& file : ssh_keys_) {
    const auto text = read(file);
    if (!text) {
      return text;
    }
    const auto found = keys_in(*text);
    if (found.empty()) {
      return fail(ErrorCode::invalid, "--ssh-key: there is no public key in " + file);
    }
    keys.insert(keys.end(), found.begin(), found.end());
  }
  if (!keys.empty()) {
    guest["ssh_keys"] = std::move(keys);
  }
  return Json{{"guests", Json::array({std::move(guest)})}}.dump(-1, ' ', false,
                                                                Json::error_handler_t::replace);
}

Result<std::string> with_files(const std::string& document,
                               const std::filesystem::path& directory) {
  if (document.find("\"file\"") == std::string::npos) {
    return document;
  }
  auto parsed = json::parse(document);
  if (!parsed || !parsed->is_object()) {
    return document;  // the daemon says what is wrong with it
  }
  const auto bring = [&](Json& object) -> Status {
    for (const auto* key : {"user_data", "vendor_data"}) {
      const auto value = object.is_object() ? object.find(key) : object.end();
      if (value == object.end() || !value->is_object() || value->size() != 1 ||
          !value->contains("file") || !value->front().is_string()) {
        continue;
      }
      auto bytes = read_file(directory / value->front().get<std::string>());
      if (!bytes) {
        return tl::make_unexpected(std::move(bytes.error()).in(key));
      }
      *value = Json{{"base64", base64_encoded(*bytes)}};
    }
    return {};
  };
  if (auto brought = bring(*parsed); !brought) {
    return tl::make_unexpected(std::move(brought.error()));
  }
  for (const auto* table : {"instances", "guests", "servers"}) {
    const auto objects = parsed->find(table);
    if (objects == parsed->end() || !objects->is_array()) {
      continue;
    }
    for (auto& object : *objects) {
      if (auto brought = bring(object); !brought) {
        return tl::make_unexpected(std::move(brought.error()));
      }
    }
  }
  return parsed->dump();
}

}  // namespace metatap::admin
