// SPDX-License-Identifier: Apache-2.0
#include "importer/nova_reader.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>

#include "base/json_text.hpp"
#include "base/text.hpp"
#include "importer/since.hpp"

namespace metatap::importer {
namespace {

// Nova's microversions, docs.openstack.org/nova/latest/reference/api-microversion-history.html
constexpr int kKeysOfUsers = 10;     ///< an administrator may ask for anybody's key
constexpr int kFlavorEmbedded = 47;  ///< a server has its flavor's name

constexpr auto kUserData = "OS-EXT-SRV-ATTR:user_data";

/// N of "2.N"; 1 where there are no microversions.
int minor_of(std::string_view version) {
  int minor = 1;
  if (version.starts_with("2.")) {
    std::from_chars(version.data() + 2, version.data() + version.size(), minor);
  }
  return minor;
}

/// The MACs of {"label": [{"OS-EXT-IPS-MAC:mac_addr": …}]}, each once.
Json macs_in(const Json& addresses) {
  Json macs = Json::array();
  for (const auto& network : addresses) {
    for (const auto& address : network) {
      auto mac = text_of(address, "OS-EXT-IPS-MAC:mac_addr");
      if (!mac.empty() && std::ranges::find(macs, Json(mac)) == macs.end()) {
        macs.push_back(std::move(mac));
      }
    }
  }
  return macs;
}

}  // namespace

boost::asio::awaitable<Status> NovaReader::choose_microversion() {
  const auto answer = co_await questions_.version_document();
  if (!answer) {
    co_return tl::make_unexpected(answer.error());
  }
  const auto document = json_object(answer->body);
  if (answer->status != 200 || !document || !member(*document, "version").is_object()) {
    co_return fail(ErrorCode::unavailable, questions_.where() + " does not say its version (" +
                                               std::to_string(answer->status) + ")");
  }
  microversion_ = std::min(minor_of(text_of(member(*document, "version"), "version")), kNewest);
  questions_.use_microversion(microversion_ > 1 ? "2." + std::to_string(microversion_) : "");
  co_return Status();
}

boost::asio::awaitable<Result<std::vector<Json>>> NovaReader::servers(
    std::string since, std::set<std::string>& hidden) {
  Collection collection{.path = "servers/detail", .key = "servers"};
  if (!own_project_) {
    collection.query.emplace_back("all_tenants", "1");
  }
  if (!since.empty()) {
    collection.query.emplace_back("changes-since", std::move(since));
  }
  Trim trim = [this, &hidden](Json& server) {
    if (server.contains("name") && !server.contains(kUserData)) {
      hidden.insert(text_of(server, "id"));
    }
    auto macs = macs_in(member(server, "addresses"));
    keys_.reduce("servers", server, {"status"});
    server["addresses"] = std::move(macs);
  };
  return questions_.all(std::move(collection), std::move(trim));
}

boost::asio::awaitable<Status> NovaReader::put_key(Json& server) {
  const auto name = text_of(server, "key_name");
  if (name.empty()) {
    co_return Status();
  }
  const auto user = text_of(server, "user_id");
  const auto known = keypairs_.find({user, name});
  if (known == keypairs_.end()) {
    auto target = "os-keypairs/" + percent_encoded(name);
    if (microversion_ >= kKeysOfUsers && !own_project_) {
      target += "?user_id=" + percent_encoded(user);
    }
    const auto answer = co_await questions_.get(std::move(target));
    if (!answer) {
      co_return tl::make_unexpected(answer.error());
    }
    Json pair;
    const auto body = ordered_json_object(answer->body);
    if (answer->status == 200 && body) {
      const auto& told = member(*body, "keypair");
      // Who may not ask for others' keys gets his own one of that name.
      if (!text_of(told, "public_key").empty() && text_of(told, "user_id") == user) {
        pair = Json{{"name", name}, {"public_key", text_of(told, "public_key")}};
        if (!text_of(told, "type").empty()) {
          pair["type"] = text_of(told, "type");
        }
      }
    }
    keypairs_[{user, name}] = std::move(pair);
  }
  if (const auto& pair = keypairs_[{user, name}]; !pair.is_null()) {
    server["keypairs"] = Json::array({pair});
  }
  co_return Status();
}

boost::asio::awaitable<Status> NovaReader::put_flavor(Json& server) {
  const auto id = text_of(member(server, "flavor"), "id");
  if (microversion_ >= kFlavorEmbedded || id.empty()) {
    co_return Status();
  }
  if (!flavors_.contains(id)) {
    const auto answer = co_await questions_.get("flavors/" + percent_encoded(id));
    if (!answer) {
      co_return tl::make_unexpected(answer.error());
    }
    const auto body = json_object(answer->body);
    // One that is gone is known by its id alone.
    flavors_[id] = body ? text_of(member(*body, "flavor"), "name") : "";
  }
  if (!flavors_[id].empty()) {
    server["flavor"]["original_name"] = flavors_[id];
  }
  co_return Status();
}

boost::asio::awaitable<Status> NovaReader::complete(Json& server) {
  server.erase("status");
  if (auto status = co_await put_key(server); !status) {
    co_return status;
  }
  co_return co_await put_flavor(server);
}

/// Of a server that is not there, there is nothing to be told.
void NovaReader::note_hidden(const std::set<std::string>& hidden, const Table& servers) {
  std::ranges::copy_if(hidden, std::inserter(without_user_data_, without_user_data_.end()),
                       [&](const std::string& id) { return servers.contains(id); });
}

void NovaReader::forget(const std::string& id) {
  without_user_data_.erase(id);
  partial_.erase(id);
}

boost::asio::awaitable<Status> NovaReader::all(Tables& into) {
  questions_.forget_time();
  if (auto status = co_await choose_microversion(); !status) {
    co_return status;
  }
  std::set<std::string> hidden, partial;
  auto objects = co_await servers("", hidden);
  if (!objects) {
    co_return tl::make_unexpected(std::move(objects.error()));
  }
  say_("Nova: " + std::to_string(objects->size()) + " servers (microversion 2." +
       std::to_string(microversion_) + ")");
  keypairs_.clear();
  Table table;
  for (auto& server : *objects) {
    const auto id = text_of(server, "id");
    if (!server.contains("name")) {
      partial.insert(id);
      if (const auto before = into.servers.find(id); before != into.servers.end()) {
        table.insert_or_assign(id, before->second);
      }
      continue;
    }
    if (auto status = co_await complete(server); !status) {
      co_return status;
    }
    table.insert_or_assign(id, std::move(server));
  }
  into.servers = std::move(table);
  without_user_data_.clear();
  note_hidden(hidden, into.servers);
  partial_ = std::move(partial);
  since_ = since(questions_.began());
  co_return Status();
}

boost::asio::awaitable<Status> NovaReader::changes(Tables& into) {
  questions_.forget_time();
  std::set<std::string> gone, hidden;
  auto objects = co_await servers(since_, hidden);
  if (!objects) {
    co_return tl::make_unexpected(std::move(objects.error()));
  }
  Table changed;
  for (auto& server : *objects) {
    const auto id = text_of(server, "id");
    if (text_of(server, "status") == "DELETED") {
      gone.insert(id);
    } else if (server.contains("name")) {
      if (auto status = co_await complete(server); !status) {
        co_return status;
      }
      changed.insert_or_assign(id, std::move(server));
    }
  }
  for (const auto& id : gone) {
    into.servers.erase(id);
    forget(id);
  }
  for (auto& [id, server] : changed) {
    into.servers.insert_or_assign(id, std::move(server));
    forget(id);
  }
  note_hidden(hidden, into.servers);
  since_ = since(questions_.began());
  co_return Status();
}

std::vector<std::string> NovaReader::keys_not_told() const {
  std::vector<std::string> names;
  for (const auto& [key, pair] : keypairs_) {
    if (pair.is_null()) {
      names.push_back(key.first + "/" + key.second);
    }
  }
  return names;
}

}  // namespace metatap::importer
