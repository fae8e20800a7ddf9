// SPDX-License-Identifier: Apache-2.0
#include "dataplane/options.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>

#include "base/option_reader.hpp"
#include "dataplane/own_records.hpp"
#include "metatap/abi/abi.h"

namespace metatap::dataplane {

namespace {

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.find('/') == std::string_view::npos && name != "." && name != "..";
}

void read_first_hops(OptionReader& read, std::vector<std::uint8_t>& into) {
  constexpr std::string_view kGroup = "dataplane", kName = "first_hops";
  std::vector<std::string> texts;
  for (const auto hops : into) {
    texts.push_back(std::to_string(hops));
  }
  read.list({kGroup, kName, "TTLs that operating systems start with; others were forwarded"},
            texts);
  into.clear();
  for (const auto& text : texts) {
    unsigned hops = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hops);
    const bool good =
        error == std::errc() && end == text.data() + text.size() && hops >= 1 && hops <= UINT8_MAX;
    read.require(kGroup, kName, good, "numbers from 1 to 255");
    into.push_back(static_cast<std::uint8_t>(hops));
  }
}

}  // namespace

Result<DataPlaneOptions> DataPlaneOptions::from(const Config& config) {
  DataPlaneOptions options;
  OptionReader read(config);
  std::filesystem::path run_path = "/run/metatap";
  read.text({"DEFAULT", "run_path", "Sockets and what lives until the next start"}, run_path);
  options.rcu.record = run_path / kOwnRecords / "rcu_expedited.before";
  options.journal = run_path / kOwnRecords / "namespaces.journal";

  constexpr std::string_view kGroup = "dataplane";
  read.text({kGroup, "namespace", "Where the metadata addresses live"}, options.namespace_name);
  read.require(kGroup, "namespace", is_plain_name(options.namespace_name),
               "a namespace's plain name");
  read.text({kGroup, "pin_path", "Maps and links that outlive the process"}, options.pin_path);
  read.require(kGroup, "pin_path", options.pin_path.is_absolute(), "an absolute path");
  read.list({kGroup, "devices", "Patterns of devices that are ours; not set: those of ports"},
            options.devices);
  read.choice(
      {kGroup, "attach", "By TCX, by filters, or by what the kernel has"}, options.attach,
      {{"auto", AttachMode::automatic}, {"tcx", AttachMode::tcx}, {"clsact", AttachMode::clsact}});
  read.choice({kGroup, "when_down",
               "What becomes of requests at taps while the daemon is down; in router and DHCP "
               "namespaces they "
               "always take the network's own path then"},
              options.when_down, {{"pass", WhenDown::pass}, {"refuse", WhenDown::refuse}});
  read.boolean({kGroup, "routers", "Neutron's router and DHCP namespaces are served"},
               options.routers);
  read.boolean({kGroup, "expedite_rcu", "Short grace periods while many devices are attached"},
               options.rcu.allowed);
  read.integer({kGroup, "syn_rate", "New connections a second of a port; 0: no limit"},
               options.syn_rate, 0, 1'000'000'000);
  read.integer({kGroup, "syn_burst", "How many of these at once"}, options.syn_burst, 0,
               1'000'000'000);
  read.integer({kGroup, "drop_sample", "One drop in so many is told of; 0: none", "packets"},
               options.drop_sample, 0, 1'000'000);
  read.seconds({kGroup, "quarantine", "How long a slot's number rests before its next owner"},
               options.quarantine, 0, 86'400);
  read.integer({kGroup, "slots", "Ports and router devices at most; fixed while pinned"},
               options.slots, MT_TAG_LOWEST + 1, MT_TAG_MASK + 1);
  read.choice({"proxy", "forwarded_inside", "Connections that were forwarded inside the guest"},
              options.forwarded_inside,
              {{"count", ForwardedInside::count},
               {"refuse", ForwardedInside::refuse},
               {"allow", ForwardedInside::allow}});
  read_first_hops(read, options.first_hops);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

bool DataPlaneOptions::may_steer(const std::string& device) const {
  return !devices || std::ranges::any_of(*devices, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), device.c_str(), 0) == 0;
  });
}

}  // namespace metatap::dataplane
