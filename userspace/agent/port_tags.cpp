// SPDX-License-Identifier: Apache-2.0
#include "agent/port_tags.hpp"

namespace metatap::agent {

bool PortTags::believe(const DirectoryQuery& tag, std::string_view signature,
                       bool in_process) const {
  if (tag.port_id.empty()) {
    return false;
  }
  return in_process || (key_ && key_->signed_by_us(tag, signature));
}

Error PortTags::refuse() const {
  const auto count = ++refused_;
  complaint_.warn(
      "agent: a request was refused because its port tag is not signed with our key ({} so far): "
      "give proxy and agent the same key, by [DEFAULT] port_tag_key or, where that is not set, by "
      "port_tag.key in the same [DEFAULT] run_path, and restart both; if they have it, someone "
      "else "
      "on the agent's socket writes {}",
      count, kPortIdHeader);
  return {ErrorCode::denied, "the port tag is not signed with our key"};
}

}  // namespace metatap::agent
