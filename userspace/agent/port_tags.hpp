// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/log_limit.hpp"
#include "base/port_tag.hpp"
#include "metatap/directory.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// Which port tags are to be believed. Thread-safe.
class PortTags {
 public:
  explicit PortTags(std::optional<PortTagKey> key) : key_(std::move(key)) {}

  /// `in_process`: from the proxy of this process, which signs nothing. Without a key nothing else
  /// is believed.
  [[nodiscard]] bool believe(const DirectoryQuery& tag, std::string_view signature,
                             bool in_process) const;
  /// Counts a tag that is not believed, and logs what to do: a line a minute at most, because a
  /// guest behind Neutron's haproxy can write as many as it likes.
  Error refuse() const;
  [[nodiscard]] std::uint64_t refused() const { return refused_; }

 private:
  std::optional<PortTagKey> key_;
  mutable std::atomic<std::uint64_t> refused_ = 0;
  mutable log::Limit complaint_;
};

}  // namespace metatap::agent
