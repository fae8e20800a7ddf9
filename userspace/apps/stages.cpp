// SPDX-License-Identifier: Apache-2.0
// Which stages may run in one process.
#include <boost/algorithm/string/split.hpp>
#include <string>
#include <vector>

#include "apps/daemon.hpp"

namespace metatap::apps {

Status DaemonOptions::set_stages(std::string_view list) {
  dataplane = proxy = agent = api = false;
  std::vector<std::string> words;
  boost::algorithm::split(words, list, [](char c) { return c == ','; });
  for (const auto& word : words) {
    if (word == "dataplane") {
      dataplane = true;
    } else if (word == "proxy") {
      proxy = true;
    } else if (word == "agent") {
      agent = true;
    } else if (word == "api") {
      api = true;
    } else {
      return fail(ErrorCode::invalid,
                  "--stages: '" + word + "' is no stage; there are dataplane, proxy, agent, api");
    }
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
