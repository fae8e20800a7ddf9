// SPDX-License-Identifier: Apache-2.0
#include "apps/reload.hpp"

#include "base/log.hpp"

namespace metatap::apps {

void Reload::config(const Result<Config>& read, const std::function<void()>& follow) {
  if (!read) {
    log::error("reload: {}; the configuration stays as it was", read.error().message);
    return;
  }
  std::string changed;
  for (const auto& [option, takes] : read->changed_since(followed_)) {
    if (takes == Takes::reload) {
      changed += (changed.empty() ? "" : ", ") + option;
    }
  }
  std::string waiting;
  for (const auto& [option, takes] : read->changed_since(started_)) {
    if (takes == Takes::restart) {
      waiting += (waiting.empty() ? "" : ", ") + option;
    }
  }
  follow();
  followed_ = *read;
  log::info("reload: {}",
            changed.empty() ? "no option has changed that takes a reload" : "changed: " + changed);
  if (!waiting.empty()) {
    log::warn("reload: a restart is needed for {}", waiting);
  }
}

void Reload::file(std::string_view what, const Status& done) const {
  if (!done) {
    log::error("reload: {}: {}; it stays as it was", what, done.error().message);
  }
}

}  // namespace metatap::apps
