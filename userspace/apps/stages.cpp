// SPDX-License-Identifier: Apache-2.0
// Which stages may run in one process.
#include <algorithm>
#include <array>
#include <boost/algorithm/string/split.hpp>
#include <string>
#include <utility>
#include <vector>

#include "apps/daemon.hpp"

namespace metatap::apps {

namespace {

/// In the order in which a request meets them.
constexpr std::array kStages{
    std::pair{std::string_view("dataplane"), &DaemonOptions::dataplane},
    std::pair{std::string_view("proxy"), &DaemonOptions::proxy},
    std::pair{std::string_view("agent"), &DaemonOptions::agent},
    std::pair{std::string_view("api"), &DaemonOptions::api},
};

}  // namespace

std::vector<std::string> DaemonOptions::stages() const {
  std::vector<std::string> names;
  for (const auto& [name, here] : kStages) {
    if (this->*here) {
      names.emplace_back(name);
    }
  }
  return names;
}

Status DaemonOptions::set_stages(std::string_view list) {
  dataplane = proxy = agent = api = false;
  std::vector<std::string> words;
  boost::algorithm::split(words, list, [](char c) { return c == ','; });
  for (const auto& word : words) {
    const auto* const stage = std::ranges::find(kStages, std::string_view(word),
                                                [](const auto& one) { return one.first; });
    if (stage == kStages.end()) {
      return fail(ErrorCode::invalid,
                  "--stages: '" + word + "' is no stage; there are dataplane, proxy, agent, api");
    }
    this->*stage->second = true;
  }
  if (dataplane != proxy) {
    return fail(ErrorCode::invalid,
                "--stages: dataplane and proxy run in one process, because the listening sockets "
                "and the connections' identities pass between them in memory");
  }
  if (proxy && !agent && api) {
    return fail(ErrorCode::invalid,
                "--stages: api here and agent elsewhere would have the proxy's requests leave and "
                "come back; run dataplane,proxy in one process and api in another");
  }
  return {};
}

}  // namespace metatap::apps
