// SPDX-License-Identifier: Apache-2.0
#include "apps/preflight.hpp"

#include <boost/asio/io_context.hpp>
#include <string_view>
#include <utility>

#include "agent/endpoints.hpp"
#include "agent/neutron_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "api/dynamic_vendordata.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "http/socket_path.hpp"
#include "http/upstream.hpp"
#include "inventory/document.hpp"
#include "inventory/open_store.hpp"
#include "sys/file_rights.hpp"

namespace metatap::apps {
namespace {

template <class Part>
Status made(Result<Part> part, std::string_view what) {
  return part ? Status() : tl::make_unexpected(std::move(part.error()).in(what));
}

Status check_clients(const Settings& settings) {
  const auto& stages = settings.options;
  Status status;
  if (stages.agent && !stages.api) {
    status = made(http::Upstream::create(agent::api_upstream(settings.agent)), "the API");
  }
  if (status && stages.agent && settings.agent.directory == agent::DirectorySource::neutron) {
    status = made(agent::NeutronDirectory::create(settings.neutron), "[agent] directory = neutron");
  }
  if (status && settings.with_ovn()) {
    boost::asio::io_context nothing_runs;
    status = made(agent::OvnFeed::create(nothing_runs, settings.ovn), "[agent] directory = ovn");
  }
  if (status && stages.api && settings.api.dynamic_vendordata()) {
    status = made(api::DynamicVendordata::create(settings.api), "[api] vendordata_dynamic_targets");
  }
  return status;
}

Status check_addresses(const Settings& settings) {
  const auto& stages = settings.options;
  const auto& api = settings.api;
  Status status;
  if (stages.api && !stages.agent) {
    status = made(http::check_local({api.metadata_listen, api.metadata_listen_port}),
                  "[DEFAULT] metadata_listen");
  }
  if (status && settings.metrics.listen) {
    status = made(http::check_local(*settings.metrics.listen), "[admin] metrics_listen");
  }
  return status;
}

/// Where a start makes sockets and folders, whoever has them now.
Status check_places(const Settings& settings) {
  auto status = made(http::check_directory(settings.run_path), "[DEFAULT] run_path");
  if (status) {
    status = made(http::check_socket_path(settings.run_path / "admin.sock"), "[DEFAULT] run_path");
  }
  if (status) {
    status = made(http::check_directory(settings.inventory.state_path), "[DEFAULT] state_path");
  }
  if (status && settings.options.agent && !settings.options.proxy) {
    status = made(http::check_socket_path(settings.agent.metadata_proxy_socket),
                  "[DEFAULT] metadata_proxy_socket");
  }
  return status;
}

/// What is as it should be, and perhaps not as it was meant.
void note_limits(const Settings& settings) {
  const auto& taps = settings.dataplane;
  if (settings.options.dataplane && taps.routers && taps.when_down == WhenDown::refuse) {
    log::info(
        "[dataplane] when_down = refuse holds at taps. In router and DHCP namespaces requests take "
        "the network's own path while nobody serves: Neutron's proxy where that is enabled");
  }
}

/// `user`: who will read the file.
Status check_inventory(const InventoryOptions& inventory, const sys::User& user) {
  auto store = check_store(inventory.database, inventory.state_path, inventory.database_timeout);
  if (!store && store.error().code == ErrorCode::unavailable) {
    log::warn("{}; a start would go on without it", store.error().message);
  } else if (!store) {
    return store;
  }
  if (!inventory.file) {
    return {};
  }
  Result<std::string> text;
  sys::with_files_of(user, [&] { text = read_file(*inventory.file); });
  return text ? made(parse_document(*text), inventory.file->string())
              : made(text, "[inventory] file, as user " + user.name);
}

}  // namespace

Status preflight(const Settings& settings) {
  const auto user = settings.unprivileged_user();
  if (!user) {
    return tl::make_unexpected(user.error());
  }
  for (const auto& check : {check_clients, check_addresses, check_places}) {
    if (auto status = check(settings); !status) {
      return status;
    }
  }
  note_limits(settings);
  return check_inventory(settings.inventory, *user);
}

}  // namespace metatap::apps
