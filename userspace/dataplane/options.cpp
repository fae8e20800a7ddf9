// SPDX-License-Identifier: Apache-2.0
#include "dataplane/options.hpp"

#include <fnmatch.h>

#include <algorithm>

#include "metatap/abi/abi.h"

namespace metatap::dataplane {

Result<DataPlaneOptions> DataPlaneOptions::from(const Config& config) {
  constexpr std::string_view kGroup = "dataplane";
  DataPlaneOptions options;
  Status status;
  const auto take = [&](auto&& result, auto&& use) {
    if (!status) {
      return;
    }
    if (!result) {
      status = tl::make_unexpected(std::move(result.error()));
    } else {
      use(*std::move(result));
    }
  };
  const auto number = [&](std::string_view name, auto& field, long max) {
    take(config.integer(kGroup, name, static_cast<long>(field), 0, max),
         [&](long value) { field = static_cast<std::remove_reference_t<decltype(field)>>(value); });
  };
  take(config.text(kGroup, "namespace", options.namespace_name),
       [&](std::string value) { options.namespace_name = std::move(value); });
  take(config.text(kGroup, "pin_path", options.pin_path.string()),
       [&](std::string value) { options.pin_path = std::move(value); });
  if (config.where(kGroup, "devices")) {
    take(config.list(kGroup, "devices", {}),
         [&](std::vector<std::string> value) { options.devices = std::move(value); });
  }
  take(config.choice(kGroup, "attach", "auto", {"auto", "tcx", "clsact"}),
       [&](const std::string& value) {
         options.attach = value == "tcx"      ? AttachMode::tcx
                          : value == "clsact" ? AttachMode::clsact
                                              : AttachMode::automatic;
       });
  take(config.choice(kGroup, "when_down", "pass", {"pass", "refuse"}),
       [&](const std::string& value) {
         options.when_down = value == "refuse" ? WhenDown::refuse : WhenDown::pass;
       });
  take(config.boolean(kGroup, "expedite_rcu", options.rcu.allowed),
       [&](bool value) { options.rcu.allowed = value; });
  take(config.text("DEFAULT", "run_path", "/run/metatap"), [&](const std::string& value) {
    options.rcu.record = std::filesystem::path(value) / "rcu_expedited.before";
  });
  number("syn_rate", options.syn_rate, 1'000'000'000);
  number("syn_burst", options.syn_burst, 1'000'000'000);
  number("drop_sample", options.drop_sample, 1'000'000);
  number("quarantine", options.quarantine_s, 86400);
  take(config.integer(kGroup, "slots", options.slots, 16, MT_TAG_MASK + 1),
       [&](long value) { options.slots = static_cast<std::uint32_t>(value); });
  if (!status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  const auto bad_name = [](const std::string& name) {
    return name.empty() || name.find('/') != std::string::npos || name == "." || name == "..";
  };
  if (bad_name(options.namespace_name)) {
    return fail(ErrorCode::invalid,
                config.where(kGroup, "namespace").value_or("[dataplane] namespace") +
                    ": a namespace's plain name is expected, not \"" + options.namespace_name +
                    "\"");
  }
  if (!options.pin_path.is_absolute()) {
    return fail(ErrorCode::invalid,
                config.where(kGroup, "pin_path").value_or("[dataplane] pin_path") +
                    ": an absolute path is expected, not \"" + options.pin_path.string() + "\"");
  }
  return options;
}

bool DataPlaneOptions::may_steer(const std::string& device) const {
  return !devices || std::ranges::any_of(*devices, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), device.c_str(), 0) == 0;
  });
}

}  // namespace metatap::dataplane
