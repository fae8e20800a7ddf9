// SPDX-License-Identifier: Apache-2.0
#include "admin/inventory_actions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/log.hpp"
#include "inventory/step.hpp"
#include "inventory/write_document.hpp"

namespace metatap::admin {

namespace asio = boost::asio;

namespace {

Json plan_json(const Plan& plan, bool dry_run) {
  Json json{{"dry_run", dry_run}, {"changes", !plan.empty()}};
  if (!dry_run) {
    json["revision"] = plan.revision;
  }
  Json& tables = json["plan"] = Json::object();
  for (const auto& table : plan.tables) {
    tables[std::string(table.name)] = {
        {"added", table.added}, {"changed", table.changed}, {"removed", table.removed}};
  }
  json["text"] = plan.text();
  return json;
}

std::string truth(const InventoryService::State& state) {
  switch (state.source) {
    case InventorySource::file:
      return "the file " + state.file;
    case InventorySource::libvirt:
      return "libvirt's running domains";
    case InventorySource::database:
      break;
  }
  return "the database: metatap apply, metatap instance";
}

Json state_json(const InventoryService& inventory) {
  const auto state = inventory.state();
  Json json{{"revision", state.revision},
            {"networks", state.networks},
            {"subnets", state.subnets},
            {"routers", state.routers},
            {"ports", state.ports},
            {"instances", state.instances},
            {"source_of_truth", truth(state)},
            {"served_from", !state.known      ? "nothing yet, guests are answered 503"
                            : state.from_copy ? "this host's copy"
                                              : "the database's state"},
            {"age", state.age.count()},
            {"database", state.store.where},
            {"database_reachable", state.store.reachable},
            {"database_detail", state.store.detail}};
  if (!state.known) {
    json["unknown_because"] = state.unknown_because;
  }
  if (!state.file.empty()) {
    json["file"] = state.file;
    json["file_applied_at"] = state.source_applied_at;
    json["file_error"] = state.source_error;
  }
  return json;
}

Json instances_json(const Inventory& inventory) {
  std::unordered_map<std::string_view, std::vector<const Port*>> ports;
  for (const auto& [id, port] : inventory.ports) {
    ports[port->device_id].push_back(port.get());
  }
  Json rows = Json::array();
  for (const auto& [uuid, instance] : inventory.instances) {
    auto& mine = ports[uuid];
    std::ranges::stable_sort(mine, {}, &Port::attached);
    Json addresses = Json::array();
    for (const Port* port : mine) {
      for (const auto& fixed : port->fixed_ips) {
        addresses.push_back(fixed.ip_address);
      }
    }
    rows.push_back({{"uuid", uuid},
                    {"name", instance->name},
                    {"hostname", instance->hostname},
                    {"project_id", instance->project_id},
                    {"ec2_id", instance->ec2_ids.instance_id.value_or("")},
                    {"addresses", std::move(addresses)},
                    {"password", password_of(*instance).empty() ? "unset" : "set"}});
  }
  return rows;
}

/// What was changed in one line, by the ids of at most three objects of each kind.
std::string summary(const Plan& plan) {
  constexpr std::size_t kNamed = 3;
  std::string all;
  const auto add = [&](std::string_view name, std::string_view what,
                       const std::vector<std::string>& ids) {
    if (ids.empty()) {
      return;
    }
    all += fmt::format("{}{} {} {} (", all.empty() ? "" : ", ", ids.size(), name, what);
    for (std::size_t i = 0; i < std::min(kNamed, ids.size()); ++i) {
      all += (i == 0 ? "" : " ") + ids[i];
    }
    all += ids.size() > kNamed ? " …)" : ")";
  };
  for (const auto& table : plan.tables) {
    add(table.name, "added", table.added);
    add(table.name, "changed", table.changed);
    add(table.name, "removed", table.removed);
  }
  return all;
}

/// Answers once the change is in effect, so that "applied" says what a guest sees, with what of it
/// is not.
asio::awaitable<Response> in_effect(asio::awaitable<Result<Plan>> change, Settled settled,
                                    std::string who) {
  const auto plan = co_await std::move(change);
  if (!plan) {
    co_return error_response(plan.error());
  }
  if (!plan->empty()) {
    log::info("inventory: revision {} by {}: {}", plan->revision, who, summary(*plan));
  }
  Json answer = plan_json(*plan, false);
  if (settled && !plan->empty()) {
    const auto problems = co_await settled();
    answer["problems"] = problems;
  }
  co_return json_response(answer);
}

asio::awaitable<Response> apply(InventoryService& inventory, Call call, Settled settled) {
  if (!call.flag("dry_run")) {
    co_return co_await in_effect(inventory.apply(std::move(call.body)), std::move(settled),
                                 std::move(call.who));
  }
  const auto plan = inventory.rehearse(call.body);
  co_return plan ? json_response(plan_json(*plan, true)) : error_response(plan.error());
}

asio::awaitable<Response> remove(InventoryService& inventory, Call call, Settled settled) {
  const auto instance = find_instance(*inventory.current(), call.parts.at(0));
  if (!instance) {
    co_return error_response(instance.error());
  }
  co_return co_await in_effect(inventory.remove_instance((*instance)->uuid), std::move(settled),
                               std::move(call.who));
}

void count_inventory(Metrics& metrics, const InventoryService& inventory) {
  const auto state = inventory.state();
  constexpr auto kObjects = "Objects in the inventory.";
  for (const auto& [kind, count] :
       {std::pair("network", state.networks), std::pair("subnet", state.subnets),
        std::pair("router", state.routers), std::pair("port", state.ports),
        std::pair("instance", state.instances)}) {
    metrics.gauge("inventory_objects", kObjects, {{"kind", kind}}, static_cast<double>(count));
  }
  metrics.gauge("inventory_revision", "Grows with every committed change.", {},
                static_cast<double>(state.revision));
  metrics.gauge("inventory_file_broken", "1 while the inventory file's contents are refused.", {},
                state.source_error.empty() ? 0 : 1);
  metrics.gauge("inventory_known", "0 until the inventory was once known: guests get 503.", {},
                state.known ? 1 : 0);
  metrics.gauge("inventory_age_seconds",
                "For how long the database has not confirmed what is served.", {},
                static_cast<double>(state.age.count()));
  metrics.gauge("database_reachable", "0 while answers go on from memory.", {},
                state.store.reachable ? 1 : 0);
}

asio::awaitable<Response> clear_password(InventoryService& inventory, Call call) {
  const auto instance = find_instance(*inventory.current(), call.parts.at(0));
  if (!instance) {
    co_return error_response(instance.error());
  }
  const auto status = co_await inventory.clear_password((*instance)->uuid);
  if (status) {
    log::info("instance {}: its password was forgotten by {}", (*instance)->uuid, call.who);
  }
  co_return status ? json_response({{"cleared", (*instance)->uuid}})
                   : error_response(status.error());
}

}  // namespace

Result<std::shared_ptr<const Instance>> find_instance(const Inventory& inventory,
                                                      std::string_view wanted) {
  if (const auto found = inventory.instances.find(wanted); found != inventory.instances.end()) {
    return found->second;
  }
  std::shared_ptr<const Instance> only;
  for (const auto& [uuid, instance] : inventory.instances) {
    if (instance->name != wanted && instance->display_name != wanted &&
        instance->hostname != wanted) {
      continue;
    }
    if (only) {
      return fail(ErrorCode::conflict, "several instances are called '" + std::string(wanted) +
                                           "'; say the uuid: " + only->uuid + ", " + uuid);
    }
    only = instance;
  }
  if (!only) {
    return fail(ErrorCode::not_found, "there is no instance '" + std::string(wanted) + "'");
  }
  return only;
}

void register_inventory(Registry& registry, InventoryService& inventory, Settled settled) {
  registry.add_status("inventory", [&inventory] { return state_json(inventory); });
  registry.add_health(
      "database",
      [&inventory]() -> std::string {
        const auto health = inventory.state().store;
        return health.reachable ? "" : health.detail;
      },
      Registry::Guests::served);
  registry.add_health("inventory", [&inventory]() -> std::string {
    const auto state = inventory.state();
    return state.known ? "" : "not known yet, guests are answered 503: " + state.unknown_because;
  });
  registry.add_health(
      "inventory file",
      [&inventory]() -> std::string {
        const auto state = inventory.state();
        return !state.known || state.file.empty() || state.source_error.empty()
                   ? ""
                   : state.file + ": " + state.source_error;
      },
      Registry::Guests::served);
  registry.add_metrics([&inventory](Metrics& metrics) { count_inventory(metrics, inventory); });
  registry.add_findings([&inventory] {
    const auto state = inventory.state();
    std::vector<Finding> findings;
    using enum Finding::Severity;
    findings.push_back({state.store.reachable ? ok : error, "database",
                        state.store.where + ": " + state.store.detail,
                        state.store.reachable ? "" : "answers go on from memory until it is back"});
    if (!state.known) {
      findings.push_back({error, "inventory", "not known yet: " + state.unknown_because,
                          "guests are answered 503, which cloud-init waits for"});
    }
    if (!state.file.empty()) {
      findings.push_back(
          {state.source_error.empty() ? ok : error, "inventory file",
           state.file + ": " + (state.source_error.empty() ? "ok" : state.source_error),
           state.source_error.empty() ? "" : "the state before it is served on"});
    }
    return findings;
  });

  registry.add_action("GET", "/v1/inventory", [&inventory](Call) -> asio::awaitable<Response> {
    return [](InventoryService& service) -> asio::awaitable<Response> {
      auto document = service.document();
      if (!document) {
        co_return error_response(document.error());
      }
      Response response;
      response.content_type = "application/json";
      response.body = Body(*std::move(document));
      co_return response;
    }(inventory);
  });
  registry.add_action("PUT", "/v1/inventory", [&inventory, settled](Call call) {
    return apply(inventory, std::move(call), settled);
  });
  registry.add_json_action("GET", "/v1/instances", [&inventory](const Call&) -> Result<Json> {
    return instances_json(*inventory.current());
  });
  registry.add_action("POST", "/v1/instances", [&inventory, settled](Call call) {
    return in_effect(inventory.put(std::move(call.body), InventoryService::Mode::add), settled,
                     std::move(call.who));
  });
  registry.add_action("PUT", "/v1/instances", [&inventory, settled](Call call) {
    return in_effect(inventory.put(std::move(call.body), InventoryService::Mode::set), settled,
                     std::move(call.who));
  });
  registry.add_json_action(
      "GET", "/v1/instances/{}", [&inventory](const Call& call) -> Result<Json> {
        const auto instance = find_instance(*inventory.current(), call.parts.at(0));
        if (!instance) {
          return tl::make_unexpected(instance.error());
        }
        return Json::parse(write_object(**instance));
      });
  registry.add_action("DELETE", "/v1/instances/{}", [&inventory, settled](Call call) {
    return remove(inventory, std::move(call), settled);
  });
  registry.add_json_action(
      "GET", "/v1/instances/{}/password", [&inventory](const Call& call) -> Result<Json> {
        const auto instance = find_instance(*inventory.current(), call.parts.at(0));
        if (!instance) {
          return tl::make_unexpected(instance.error());
        }
        return Json{{"uuid", (*instance)->uuid}, {"password", password_of(**instance)}};
      });
  registry.add_action("DELETE", "/v1/instances/{}/password", [&inventory](Call call) {
    return clear_password(inventory, std::move(call));
  });
}

void register_config(Registry& registry, const Config& config) {
  registry.add_json_action("GET", "/v1/config", [&config](const Call&) -> Result<Json> {
    Json rows = Json::array();
    for (const auto& setting : config.in_effect()) {
      rows.push_back({{"group", setting.group},
                      {"name", setting.name},
                      {"value", setting.value},
                      {"where", setting.where.empty() ? "default" : setting.where}});
    }
    for (const auto& setting : config.unread()) {
      rows.push_back({{"group", setting.group},
                      {"name", setting.name},
                      {"value", setting.value},
                      {"where", setting.where + ", not used"}});
    }
    return rows;
  });
}

}  // namespace metatap::admin
