// SPDX-License-Identifier: Apache-2.0
#include "dataplane/core.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "dataplane/metadata_namespace.hpp"

namespace metatap::dataplane {
namespace {

mt_config base_config(const Core& core) {
  const auto& options = core.options;
  // What an earlier process wrote about its namespace stays until this one has its own.
  mt_config config = core.programs->config().value_or(mt_config{});
  constexpr std::uint64_t kSecond = 1'000'000'000;
  config.abi_version = MT_ABI_VERSION;
  config.flags = MT_CONFIG_GATE;
  config.syn_interval_ns =
      options.syn_rate == 0 ? 0 : std::max<std::uint64_t>(1, kSecond / options.syn_rate);
  config.syn_burst_ns = config.syn_interval_ns * options.syn_burst;
  config.sample = options.drop_sample;
  std::ranges::copy(MetadataNamespace::kMetadataMac, config.mac);
  return config;
}

}  // namespace

Result<std::shared_ptr<Core>> Core::with_bpf(DataPlaneOptions options, InheritedListeners inherited,
                                             bool in_use) {
  if (auto able = Programs::probe(); !able) {
    return tl::make_unexpected(std::move(able.error()));
  }
  auto programs = Programs::load(options, in_use);
  if (!programs) {
    return tl::make_unexpected(std::move(programs.error()));
  }
  auto callers = CallerTable::create(options.slots);
  if (!callers) {
    return tl::make_unexpected(std::move(callers.error()));
  }
  auto core = std::make_shared<Core>();
  core->options = std::move(options);
  core->programs = *std::move(programs);
  *core->inherited = std::move(inherited);
  if (!core->programs->inherited() && !core->inherited->empty()) {
    log::warn(
        "the maps of the process before us are not laid out as ours: connections that wait are "
        "lost");
    core->inherited->end_all();
  }
  core->slots = std::make_shared<SlotTable>(&core->programs->maps(), *std::move(callers),
                                            core->options.quarantine);
  if (auto written = core->programs->set_config(base_config(*core)); !written) {
    return tl::make_unexpected(std::move(written.error()));
  }
  return core;
}

void Core::end(bool left_behind) {
  if (programs && !left_behind && options.when_down == WhenDown::pass) {
    programs->unpin();
  }
}

Result<std::shared_ptr<Core>> Core::without_bpf(DataPlaneOptions options,
                                                InheritedListeners inherited) {
  auto callers = CallerTable::create(options.slots);
  if (!callers) {
    return tl::make_unexpected(std::move(callers.error()));
  }
  auto core = std::make_shared<Core>();
  core->options = std::move(options);
  *core->inherited = std::move(inherited);
  core->slots = std::make_shared<SlotTable>(nullptr, *std::move(callers), core->options.quarantine);
  return core;
}

}  // namespace metatap::dataplane
