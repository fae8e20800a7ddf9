// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "admin/registry.hpp"
#include "admin/trace_log.hpp"
#include "agent/neutron_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "agent/stage.hpp"
#include "api/stage.hpp"
#include "apps/measures.hpp"
#include "apps/to_supervisor.hpp"
#include "dataplane/packet_watch.hpp"
#include "dataplane/router_data_plane.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "http/meter.hpp"
#include "http/overload.hpp"
#include "http/server.hpp"
#include "http/upstream.hpp"
#include "libvirt/feed.hpp"
#include "proxy/stage.hpp"

/// How each stage is shown on the admin socket. The stages know nothing of it, and the registry
/// nothing of them. What is shown must outlive the registry's use.
namespace metatap::apps {

void show(admin::Registry& registry, const dataplane::TapDataPlane& tap,
          const dataplane::PacketWatch& packets);
void show(admin::Registry& registry, const dataplane::RouterDataPlane& router);
/// What neutron-ovn-metadata-agent has left on this host: only who sees its namespaces can tell.
void show_ovn_agent(admin::Registry& registry);
/// The data plane as its process tells of it, and the two processes.
void show(admin::Registry& registry, ToSupervisor& supervisor);
void show(admin::Registry& registry, const libvirt::LibvirtFeed& libvirt);
void show(admin::Registry& registry, const agent::OvnFeed& ovn);
void show(admin::Registry& registry, const agent::NeutronDirectory& neutron);
/// What the process holds for all who ask it, and what it may hold.
void show(admin::Registry& registry, const http::Overload& overload);
void show(admin::Registry& registry, const proxy::ProxyStage& proxy);
void show(admin::Registry& registry, const agent::AgentStage& agent);
void show(admin::Registry& registry, const agent::Shield& shield);
void show(admin::Registry& registry, const api::ApiStage& api);
/// While somebody looks on: a line of an answer that the proxy gave itself. Any thread.
void tell(admin::TraceLog& log, const proxy::AccessEntry& answer);

}  // namespace metatap::apps
