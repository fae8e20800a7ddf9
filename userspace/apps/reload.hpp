// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// What SIGHUP does: the configuration is read again, and so are files that it names. Which options
/// are followed then is said where each is declared (Option::takes). A configuration that is wrong
/// changes nothing. What was changed is said in the log by the options' names. Control thread.
class Reload {
 public:
  explicit Reload(Config started) : started_(started), followed_(std::move(started)) {}

  /// `read`: a configuration that all parts have found good, or why not. `follow` puts its options
  /// that take a reload into effect.
  void config(const Result<Config>& read, const std::function<void()>& follow);
  /// Files other than the configuration: `what` is named where it fails.
  void file(std::string_view what, const Status& done) const;

 private:
  Config started_;   ///< in effect for what takes a restart
  Config followed_;  ///< for what takes a reload
};

}  // namespace metatap::apps
