// SPDX-License-Identifier: Apache-2.0
#include "dataplane/uninstall.hpp"

#include <charconv>
#include <set>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "dataplane/core.hpp"
#include "dataplane/leftovers.hpp"
#include "dataplane/metadata_namespace.hpp"
#include "dataplane/place_settings.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/tc_attachment.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {
namespace {

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
  // Links go with their pins, filters have to be looked for.
  for (const unsigned ifindex : *taps) {
    remove_left_filters(ifindex, TcSide::ingress);
  }
  core.programs->unpin_links();
  PlaceJournal journal(options.journal);
  const auto names = sys::NetNamespace::names();
  for (const auto& name : names.value_or(std::vector<std::string>())) {
    if (const auto opened = PlaceName::of(name) ? sys::NetNamespace::open(name)
                                                : fail(ErrorCode::not_found, name)) {
      if (auto cleared = opened->run([&] { return clear_place(journal); }); !cleared) {
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
