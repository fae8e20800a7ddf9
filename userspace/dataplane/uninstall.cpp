// SPDX-License-Identifier: Apache-2.0
#include "dataplane/uninstall.hpp"

#include <charconv>
#include <set>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "dataplane/core.hpp"
#include "dataplane/metadata_namespace.hpp"
#include "dataplane/place_settings.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/tc_attachment.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {
namespace {

/// Attaching takes over what is there, by whatever means; what is then let go of leaves nothing.
void detach(const Core& core, std::string_view program, unsigned ifindex, const std::string& pin,
            TcSide side) {
  const auto taken =
      TcAttachment::attach(core.programs->program(program), ifindex, core.options.attach,
                           core.programs->links_path() / pin, side);
  if (!taken && taken.error().code != ErrorCode::not_found) {
    log::warn("device {}: {}", ifindex, taken.error().message);
  }
}

/// By links that are pinned, by rows, and by name: a filter on an unclaimed device has no other
/// trace.
Result<std::set<unsigned>> tapped_devices(const Core& core) {
  std::set<unsigned> ours;
  (void)core.programs->maps().ports.each(
      [&](const mt_port_key& key, std::uint32_t) { ours.insert(key.ifindex); });
  std::error_code error;
  constexpr std::string_view kPrefix = "tap_";
  for (std::filesystem::directory_iterator it(core.programs->links_path(), error), end;
       !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().string();
    unsigned ifindex = 0;
    if (name.starts_with(kPrefix) &&
        std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), ifindex).ec ==
            std::errc()) {
      ours.insert(ifindex);
    }
  }
  auto netlink = sys::Netlink::open();
  const auto links = netlink ? netlink->links() : tl::make_unexpected(netlink.error());
  if (!links) {
    return tl::make_unexpected(links.error());
  }
  std::set<unsigned> here;
  for (const auto& link : *links) {
    if (ours.contains(link.index) || (core.options.devices && core.options.may_steer(link.name))) {
      here.insert(link.index);
    }
  }
  return here;
}

/// Inside a router's or DHCP namespace that we changed.
Status clear_place(const Core& core, PlaceJournal& journal) {
  const auto cookie = namespace_cookie();
  if (!cookie || journal.changes(*cookie).empty()) {
    return cookie ? Status() : tl::make_unexpected(cookie.error());
  }
  auto netlink = sys::Netlink::open();
  const auto links = netlink ? netlink->links() : tl::make_unexpected(netlink.error());
  if (!links) {
    return tl::make_unexpected(links.error());
  }
  for (const auto& link : *links) {
    if (link.name != "lo") {
      // The last one first: of two filters the first made the qdisc.
      detach(core, "mt_router", link.index, "uninstall_in", TcSide::ingress);
      detach(core, "mt_router_out", link.index, "uninstall_out", TcSide::egress);
    }
  }
  return journal.undo(*cookie, *netlink);
}

}  // namespace

Status uninstall(const DataPlaneOptions& options) {
  auto loaded = Core::with_bpf(options);
  if (!loaded) {
    return tl::make_unexpected(std::move(loaded.error()));
  }
  const auto& core = **loaded;
  if (auto discarded = MetadataNamespace::discard(options.namespace_name); !discarded) {
    return discarded;
  }
  const auto taps = tapped_devices(core);
  if (!taps) {
    return tl::make_unexpected(taps.error());
  }
  for (const unsigned ifindex : *taps) {
    detach(core, "mt_tap", ifindex, "tap_" + std::to_string(ifindex), TcSide::ingress);
  }
  // Links that are pinned go with their pins; filters have to be looked for.
  core.programs->unpin_links();
  PlaceJournal journal(options.journal);
  const auto names = sys::NetNamespace::names();
  for (const auto& name : names.value_or(std::vector<std::string>())) {
    if (const auto opened = PlaceName::of(name) ? sys::NetNamespace::open(name)
                                                : fail(ErrorCode::not_found, name)) {
      if (auto cleared = opened->run([&] { return clear_place(core, journal); }); !cleared) {
        log::warn("{}: {}", name, cleared.error().message);
      }
    }
  }
  core.programs->unpin();
  log::info("nothing of metatap is left in namespace {} and {}", options.namespace_name,
            options.pin_path.string());
  return options.rcu.put_back();
}

}  // namespace metatap::dataplane
