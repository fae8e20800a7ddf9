// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "metatap/unique_fd.hpp"

namespace metatap::http {

/// Descriptors that are held for nothing, to be let go of when the process has no more: then so
/// many connections can still be accepted. One thread.
class SpareDescriptors {
 public:
  /// Takes `count` of them, as far as there are any.
  explicit SpareDescriptors(std::size_t count);

  /// Lets one go, so that the next accept() succeeds. False: there is none.
  bool release();
  /// The descriptor of a connection that has ended. It becomes a spare one where one is missing,
  /// without anybody else's getting its number in between.
  void recover(UniqueFd fd);

 private:
  const std::size_t count_;
  UniqueFd nothing_;  // what the others are copies of
  std::vector<UniqueFd> spare_;
};

}  // namespace metatap::http
