// SPDX-License-Identifier: Apache-2.0
#include "agent/port_tags.hpp"

#include "base/log.hpp"

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
  const auto now = std::chrono::steady_clock::now();
  auto until = silent_until_.load();
  if (now >= until && silent_until_.compare_exchange_strong(until, now + std::chrono::minutes(1))) {
    log::warn(
        "agent: a request was refused because its port tag is not signed with our key ({} so far): "
        "give proxy and agent the same key, by [DEFAULT] port_tag_key or, where that is not set, "
        "by port_tag.key in the same [DEFAULT] run_path, and restart both; if they have it, "
        "someone else on the agent's socket writes {}",
        count, kPortIdHeader);
  }
  return {ErrorCode::denied, "the port tag is not signed with our key"};
}

}  // namespace metatap::agent
