// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.hpp"
#include "base/option.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// The one way in which stages read their options: one after the other, into a struct that holds
/// the defaults. Each is declared to the Config as it is read, so that Config::options() knows all
/// there are; the first that is wrong is remembered, and the rest are read all the same.
class OptionReader {
 public:
  explicit OptionReader(const Config& config) : config_(config) {}

  void text(const Option& option, std::string& into);
  void text(const Option& option, std::filesystem::path& into);
  /// Stays nullopt where the option is absent or empty.
  void text(const Option& option, std::optional<std::filesystem::path>& into);
  /// A text of which neither the value nor the default is ever shown.
  void secret(const Option& option, std::string& into);
  /// An address or a host's name, as oslo.config's HostAddress takes it.
  void host(const Option& option, std::string& into);
  /// A literal address, to listen on.
  void address(const Option& option, std::string& into);
  /// http or https; empty: none.
  void url(const Option& option, std::string& into);
  void boolean(const Option& option, bool& into);
  /// Separated by commas.
  void list(const Option& option, std::vector<std::string>& into);
  /// The same, nullopt where the option is absent.
  void list(const Option& option, std::optional<std::vector<std::string>>& into);
  /// Separated by white space.
  void words(const Option& option, std::vector<std::string>& into);

  template <class T>
  void integer(const Option& option, T& into, long min, long max) {
    into = static_cast<T>(number(option, static_cast<long>(into), min, max));
  }
  /// An option in whole seconds.
  template <class Rep, class Period>
  void seconds(Option option, std::chrono::duration<Rep, Period>& into, long min, long max) {
    option.unit = "seconds";
    duration<std::chrono::seconds>(option, into, min, max);
  }
  /// In seconds of which there may be a part, as where the option is keystoneauth's.
  template <class Rep, class Period>
  void decimal_seconds(Option option, std::chrono::duration<Rep, Period>& into, long min,
                       long max) {
    option.unit = "seconds";
    using Seconds = std::chrono::duration<double>;
    into = std::chrono::round<std::chrono::duration<Rep, Period>>(
        Seconds(decimal(option, Seconds(into).count(), min, max)));
  }
  template <class Rep, class Period>
  void milliseconds(Option option, std::chrono::duration<Rep, Period>& into, long min, long max) {
    option.unit = "milliseconds";
    duration<std::chrono::milliseconds>(option, into, min, max);
  }

  void choice(const Option& option, std::string& into,
              const std::vector<std::string_view>& choices);
  /// A choice between named values; `into` holds one of them.
  template <class T>
  void choice(const Option& option, T& into,
              std::initializer_list<std::pair<std::string_view, T>> choices) {
    std::vector<std::string_view> names;
    std::string chosen;
    for (const auto& [name, value] : choices) {
      names.push_back(name);
      chosen = value == into && chosen.empty() ? name : chosen;
    }
    choice(option, chosen, names);
    for (const auto& [name, value] : choices) {
      into = name == chosen ? value : into;
    }
  }

  /// What the kinds above cannot say of an option that was read: "file:line: [group] name: expected
  /// WHAT" where it does not hold.
  void require(std::string_view group, std::string_view name, bool holds,
               std::string_view expected);
  /// The first thing that was wrong.
  [[nodiscard]] const Status& status() const { return status_; }

 private:
  template <class Unit, class Duration>
  void duration(const Option& option, Duration& into, long min, long max) {
    into = Unit(number(option, std::chrono::duration_cast<Unit>(into).count(), min, max));
  }
  long number(const Option& option, long fallback, long min, long max);
  double decimal(const Option& option, double fallback, long min, long max);
  void declare(const Option& option, OptionType type, std::string fallback) const;

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
