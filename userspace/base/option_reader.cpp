// SPDX-License-Identifier: Apache-2.0
#include "base/option_reader.hpp"

#include <fmt/format.h>

#include <iterator>
#include <sstream>

#include "base/url.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

std::string joined(const std::vector<std::string>& items, std::string_view separator) {
  std::string text;
  for (const auto& item : items) {
    text.append(text.empty() ? "" : separator).append(item);
  }
  return text;
}

OptionInfo info_of(const Option& option, OptionType type, std::string fallback) {
  return {.group = std::string(option.group),
          .name = std::string(option.name),
          .type = type,
          .fallback = std::move(fallback),
          .unit = std::string(option.unit),
          .choices = {},
          .help = std::string(option.help),
          .takes = option.takes};
}

}  // namespace

void OptionReader::declare(const Option& option, OptionType type, std::string fallback) const {
  config_.declare(info_of(option, type, std::move(fallback)));
}

void OptionReader::text(const Option& option, std::string& into) {
  declare(option, OptionType::text, into);
  take(config_.text(option.group, option.name, into), into);
}

void OptionReader::text(const Option& option, std::filesystem::path& into) {
  std::string path = into.string();
  text(option, path);
  into = path;
}

void OptionReader::text(const Option& option, std::optional<std::filesystem::path>& into) {
  declare(option, OptionType::text, "");
  std::optional<std::string> path;
  take(config_.text(option.group, option.name), path);
  if (path && !path->empty()) {
    into = *path;
  }
}

void OptionReader::host(const Option& option, std::string& into) {
  text(option, into);
  require(option.group, option.name, is_host(into), "an IP address or a host's name");
}

void OptionReader::address(const Option& option, std::string& into) {
  text(option, into);
  require(option.group, option.name, Address::parse(into).has_value(), "an IP address");
}

void OptionReader::url(const Option& option, std::string& into) {
  text(option, into);
  const auto url = into.empty() ? Result<Url>() : Url::parse(into);
  require(option.group, option.name, url.has_value(),
          "an http:// or https:// URL" + (url ? "" : ", " + url.error().message));
}

void OptionReader::secret(const Option& option, std::string& into) {
  declare(option, OptionType::secret, "");
  take(config_.text(option.group, option.name, into), into);
}

void OptionReader::boolean(const Option& option, bool& into) {
  declare(option, OptionType::boolean, into ? "true" : "false");
  take(config_.boolean(option.group, option.name, into), into);
}

void OptionReader::list(const Option& option, std::vector<std::string>& into) {
  declare(option, OptionType::list, joined(into, ", "));
  take(config_.list(option.group, option.name, into), into);
}

void OptionReader::list(const Option& option, std::optional<std::vector<std::string>>& into) {
  std::vector<std::string> items;
  list(option, items);
  if (config_.where(option.group, option.name)) {
    into = std::move(items);
  }
}

void OptionReader::words(const Option& option, std::vector<std::string>& into) {
  std::string line = joined(into, " ");
  text(option, line);
  std::istringstream in(line);
  into.assign(std::istream_iterator<std::string>(in), {});
}

void OptionReader::choice(const Option& option, std::string& into,
                          const std::vector<std::string_view>& choices) {
  auto info = info_of(option, OptionType::choice, into);
  info.choices.assign(choices.begin(), choices.end());
  config_.declare(std::move(info));
  take(config_.choice(option.group, option.name, into, choices), into);
}

long OptionReader::number(const Option& option, long fallback, long min, long max) {
  auto info = info_of(option, OptionType::integer, std::to_string(fallback));
  info.min = min;
  info.max = max;
  config_.declare(std::move(info));
  take(config_.integer(option.group, option.name, fallback, min, max), fallback);
  return fallback;
}

double OptionReader::decimal(const Option& option, double fallback, long min, long max) {
  auto info = info_of(option, OptionType::number, fmt::format("{}", fallback));
  info.min = min;
  info.max = max;
  config_.declare(std::move(info));
  take(config_.number(option.group, option.name, fallback, min, max), fallback);
  return fallback;
}

void OptionReader::require(std::string_view group, std::string_view name, bool holds,
                           std::string_view expected) {
  if (!holds && status_) {
    status_ = fail(ErrorCode::invalid, config_.where(group, name).value_or("default") + ": [" +
                                           std::string(group) + "] " + std::string(name) +
                                           ": expected " + std::string(expected));
  }
}

}  // namespace metatap
