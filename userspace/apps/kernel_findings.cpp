// SPDX-License-Identifier: Apache-2.0
#include "apps/kernel_findings.hpp"

#include "dataplane/kernel.hpp"
#include "dataplane/programs.hpp"

namespace metatap::apps {

using Severity = admin::Finding::Severity;

std::vector<admin::Finding> kernel_findings() {
  const auto kernel = dataplane::kernel_name();
  if (const auto able = dataplane::Programs::probe(); !able) {
    return {{Severity::error, "bpf", able.error().message, {}}};
  }
  if (const auto loaded = dataplane::Programs::try_load(); !loaded) {
    return {{Severity::error, "bpf", loaded.error().message, {}}};
  }
  std::vector<admin::Finding> findings{
      {Severity::ok, "bpf", kernel + " takes the programs and maps", {}}};
  if (const auto way = dataplane::way_to_attach(); !way) {
    findings.push_back({Severity::error, "tc", way.error().message, {}});
  } else {
    findings.push_back({Severity::ok, "tc", "programs are attached to devices by " + *way, {}});
  }
  return findings;
}

}  // namespace metatap::apps
