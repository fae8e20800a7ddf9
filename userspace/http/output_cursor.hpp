// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <span>
#include <string_view>

namespace metatap::http {

/// How far a response has gone, which is written in pieces as the client takes it. The parts stay
/// where they are until it is done.
class OutputCursor {
 public:
  static constexpr std::size_t kMostParts = 4;

  void clear() { next_ = count_ = 0; }
  /// Behind the others.
  void add(std::string_view part) {
    if (!part.empty()) {
      assert(count_ < kMostParts);
      parts_[count_++] = {const_cast<char*>(part.data()), part.size()};
    }
  }

  [[nodiscard]] bool done() const { return next_ == count_; }
  /// What is still to be written, in the form that sendmsg() takes.
  [[nodiscard]] std::span<iovec> rest() { return std::span(parts_).subspan(next_, count_ - next_); }
  /// So many bytes of the rest have been written.
  void advance(std::size_t bytes) {
    while (next_ < count_) {
      iovec& part = parts_[next_];
      const std::size_t step = std::min(bytes, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + step;
      part.iov_len -= step;
      bytes -= step;
      if (part.iov_len != 0) {
        return;
      }
      ++next_;
    }
  }

 private:
  std::array<iovec, kMostParts> parts_{};
  std::size_t next_ = 0, count_ = 0;
};

}  // namespace metatap::http
