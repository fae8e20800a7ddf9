// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/option.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// Settings in oslo.config's INI dialect, so that an existing nova.conf, neutron.conf or
/// metadata_agent.ini is read as it is: `[group]`, continuation lines, repeated keys (the last one
/// wins, or all for a multi-valued option), `$name`, `${group.name}` and `$$`, `--config-file`
/// repeated (later files win) and `--config-dir` (*.conf in name order, after the files).
/// Option names are compared with `-` and `_` as equal, group names in any case. An option that is
/// absent is also looked for under the older names Nova and Neutron gave it.
///
/// A `$name` is looked for in the option's own group, then in DEFAULT, then among the fallbacks
/// that getters were called with, then among the paths every program of ours shares (state_path).
///
/// Copies share what they remember of reads; reading is thread-safe.
///
/// Every getter names file, line, option and what was expected when a value does not fit.
class Config {
 public:
  Config();
  static Result<Config> load(const std::vector<std::filesystem::path>& files,
                             const std::optional<std::filesystem::path>& directory);
  /// For tests and defaults: the text of one file.
  static Result<Config> parse(std::string_view text, std::string_view name = "<text>");

  [[nodiscard]] Result<std::string> text(std::string_view group, std::string_view name,
                                         std::string_view fallback) const;
  [[nodiscard]] Result<std::optional<std::string>> text(std::string_view group,
                                                        std::string_view name) const;
  [[nodiscard]] Result<long> integer(std::string_view group, std::string_view name, long fallback,
                                     long min, long max) const;
  /// With or without a fraction.
  [[nodiscard]] Result<double> number(std::string_view group, std::string_view name,
                                      double fallback, long min, long max) const;
  [[nodiscard]] Result<bool> boolean(std::string_view group, std::string_view name,
                                     bool fallback) const;
  /// Comma-separated, items trimmed, empty items dropped.
  [[nodiscard]] Result<std::vector<std::string>> list(std::string_view group, std::string_view name,
                                                      std::vector<std::string> fallback) const;
  /// Every occurrence of a repeated option, in file order.
  [[nodiscard]] Result<std::vector<std::string>> multi(std::string_view group,
                                                       std::string_view name) const;
  [[nodiscard]] Result<std::string> choice(std::string_view group, std::string_view name,
                                           std::string_view fallback,
                                           const std::vector<std::string_view>& choices) const;

  /// Where the value of an option came from: "file:line", or nullopt when it is a default.
  [[nodiscard]] std::optional<std::string> where(std::string_view group,
                                                 std::string_view name) const;

  /// All that was set; values of secret options are masked.
  struct Setting {
    std::string group, name, value, where;
  };
  [[nodiscard]] std::vector<Setting> settings() const;
  /// All options that were declared, each with the value that it has; `where` is empty for a
  /// default. Values of secret options are masked.
  [[nodiscard]] std::vector<Setting> in_effect() const;

  /// The options whose value is another one than in `before`, as "[group] name", never with the
  /// value. One that nobody declared takes a restart.
  struct Changed {
    std::string option;
    Takes takes = Takes::restart;
  };
  [[nodiscard]] std::vector<Changed> changed_since(const Config& before) const;

  /// Notes that there is such an option. Of two of one name the first stays.
  void declare(OptionInfo option) const;
  /// All that were declared, in that order. Options::from() of each stage, called with an empty
  /// Config, declares all there are.
  [[nodiscard]] std::vector<OptionInfo> options() const;

  /// What was set but no getter ever asked for: another program's option, or a misspelt one.
  [[nodiscard]] std::vector<Setting> unread() const;

 private:
  struct Value {
    std::string raw, file;
    int line = 0;
  };
  struct Reads;  ///< which options were asked for, and with which fallbacks

  [[nodiscard]] const std::vector<Value>* find(std::string_view group, std::string_view name) const;
  /// The last value with substitutions made, or nullopt when the option is not set.
  [[nodiscard]] Result<std::optional<std::string>> value_of(std::string_view group,
                                                            std::string_view name) const;
  [[nodiscard]] Result<std::string> substitute(std::string_view raw, const std::string& group,
                                               int depth) const;
  [[nodiscard]] Result<std::optional<std::string>> named(std::string_view name,
                                                         const std::string& group, int depth) const;
  template <class Number>
  [[nodiscard]] Result<Number> numeric(std::string_view group, std::string_view name,
                                       Number fallback, long min, long max,
                                       std::string_view kind) const;
  [[nodiscard]] tl::unexpected<Error> bad(std::string_view group, std::string_view name,
                                          std::string_view value, std::string_view expected) const;
  Status read(std::string_view content, const std::string& file);

  std::map<std::string, std::map<std::string, std::vector<Value>>> groups_;
  std::shared_ptr<Reads> reads_;
};

}  // namespace metatap
