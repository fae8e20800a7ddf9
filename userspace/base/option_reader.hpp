// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// Reads one option after the other into a struct that holds the defaults, and remembers the first
/// that is wrong.
class OptionReader {
 public:
  explicit OptionReader(const Config& config) : config_(config) {}

  void text(std::string_view group, std::string_view name, std::string& into) {
    take(config_.text(group, name, into), into);
  }
  void boolean(std::string_view group, std::string_view name, bool& into) {
    take(config_.boolean(group, name, into), into);
  }
  void list(std::string_view group, std::string_view name, std::vector<std::string>& into) {
    take(config_.list(group, name, into), into);
  }
  template <class T>
  void integer(std::string_view group, std::string_view name, T& into, long min, long max) {
    auto number = static_cast<long>(into);
    take(config_.integer(group, name, number, min, max), number);
    into = static_cast<T>(number);
  }
  /// An option in whole seconds.
  template <class Rep, class Period>
  void seconds(std::string_view group, std::string_view name,
               std::chrono::duration<Rep, Period>& into, long min, long max) {
    auto number = static_cast<long>(std::chrono::duration_cast<std::chrono::seconds>(into).count());
    integer(group, name, number, min, max);
    into = std::chrono::seconds(number);
  }
  /// The first thing that was wrong.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  template <class T>
  void take(Result<T> value, T& into) {
    if (value) {
      into = std::move(*value);
    } else if (status_) {
      status_ = tl::make_unexpected(std::move(value.error()));
    }
  }
  const Config& config_;
  Status status_;
};

}  // namespace metatap
