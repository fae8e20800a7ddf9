// SPDX-License-Identifier: Apache-2.0
#include "base/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/case_conv.hpp>
#include <charconv>
#include <fstream>
#include <mutex>
#include <set>
#include <sstream>

#include "base/log.hpp"
#include "base/masked.hpp"
#include "base/text.hpp"

namespace metatap {

/// Keys are "group.name", both as key() and option_key() spell them.
struct Config::Reads {
  std::mutex mutex;
  std::set<std::string, std::less<>> asked, noted;  // noted: older names that the log has
  std::map<std::string, std::string, std::less<>> fallbacks;
  std::vector<OptionInfo> declared;
};

namespace {

/// A value that refers to itself, directly or in a ring, stops here.
constexpr int kDeepestSubstitution = 16;

struct OlderName {
  std::string_view group, name, older_group, older_name;
};
/// Only options that a stage of ours reads.
constexpr std::array kOlderNames{
    OlderName{"default", "nova_metadata_host", "default", "nova_metadata_ip"},
    OlderName{"neutron", "service_metadata_proxy", "default", "service_neutron_metadata_proxy"},
    OlderName{"neutron", "metadata_proxy_shared_secret", "default",
              "neutron_metadata_proxy_shared_secret"},
    OlderName{"neutron", "auth_url", "neutron", "admin_auth_url"},
    OlderName{"neutron", "endpoint_override", "neutron", "url"},
    OlderName{"neutron", "username", "neutron", "user_name"},
    OlderName{"neutron", "project_name", "neutron", "tenant_name"},
    OlderName{"neutron", "project_id", "neutron", "tenant_id"},
    OlderName{"api", "dhcp_domain", "default", "dhcp_domain"},
    OlderName{"api", "metadata_cache_expiration", "default", "metadata_cache_expiration"},
    OlderName{"api", "config_drive_skip_versions", "default", "config_drive_skip_versions"},
    OlderName{"api", "vendordata_providers", "default", "vendordata_providers"},
    OlderName{"api", "vendordata_dynamic_targets", "default", "vendordata_dynamic_targets"},
    OlderName{"api", "vendordata_jsonfile_path", "default", "vendordata_jsonfile_path"},
    OlderName{"database", "connection", "default", "sql_connection"},
};

/// What `$state_path` means in a file that does not set it.
struct Shared {
  std::string_view name, value;
};
constexpr std::array kSharedDefaults{Shared{"state_path", "/var/lib/metatap"},
                                     Shared{"run_path", "/run/metatap"}};

std::string group_key(std::string_view group) {
  return boost::algorithm::to_lower_copy(std::string(group));
}

std::string option_key(std::string_view name) {
  std::string key(name);
  std::ranges::replace(key, '-', '_');
  return key;
}

std::string full_key(std::string_view group, std::string_view name) {
  return group_key(group) + '.' + option_key(name);
}

std::string display(std::string_view group) {
  const auto key = group_key(group);
  return key == "default" ? "DEFAULT" : key;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const auto end = text.find_first_of(",\n");
    if (const auto item = trimmed(text.substr(0, end), kWhiteSpace); !item.empty()) {
      items.emplace_back(item);
    }
    if (end == std::string_view::npos) {
      break;
    }
    text.remove_prefix(end + 1);
  }
  return items;
}

bool is_name_start(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_name_part(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9') || c == '.';
}

}  // namespace

Config::Config() : reads_(std::make_shared<Reads>()) {}

Result<Config> Config::load(const std::vector<std::filesystem::path>& files,
                            const std::optional<std::filesystem::path>& directory) {
  std::vector<std::filesystem::path> all = files;
  if (directory) {
    std::error_code error;
    std::vector<std::filesystem::path> found;
    for (std::filesystem::directory_iterator entry(*directory, error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->path().extension() == ".conf") {
        found.push_back(entry->path());
      }
    }
    if (error) {
      return fail_errno(error.value(), "read the configuration directory " + directory->string());
    }
    std::ranges::sort(found);
    all.insert(all.end(), found.begin(), found.end());
  }
  Config config;
  for (const auto& file : all) {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream content;
    if (std::error_code error; std::filesystem::is_directory(file, error)) {
      return fail_errno(EISDIR, "read the configuration file " + file.string());
    }
    if (!in || !(content << in.rdbuf() || in.eof())) {
      // An empty file sets failbit on `content` and is fine; a file that cannot be opened is not.
      if (!in.is_open()) {
        return fail_errno(errno, "read the configuration file " + file.string());
      }
    }
    if (auto status = config.read(content.str(), file.string()); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
  }
  return config;
}

Result<Config> Config::parse(std::string_view text, std::string_view name) {
  Config config;
  if (auto status = config.read(text, std::string(name)); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return config;
}

Status Config::read(std::string_view content, const std::string& file) {
  std::string group = "default";
  Value* open = nullptr;  // what a continuation line would continue
  int number = 0;
  const auto wrong = [&](std::string_view what) {
    return fail(ErrorCode::invalid, file + ":" + std::to_string(number) + ": " + std::string(what));
  };
  while (!content.empty()) {
    const auto end = content.find('\n');
    std::string_view line = content.substr(0, end);
    content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
    ++number;
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) {
      line.remove_prefix(3);
    }
    const auto text = trimmed(line, kWhiteSpace);
    if (text.empty()) {
      open = nullptr;
      continue;
    }
    if (line.front() == ' ' || line.front() == '\t') {
      if (text.front() == '#' || text.front() == ';') {
        continue;
      }
      if (open == nullptr) {
        return wrong("a continuation line without an option above it");
      }
      open->raw += open->raw.empty() ? "" : "\n";
      open->raw += text;
      continue;
    }
    open = text.front() == '#' || text.front() == ';' ? open : nullptr;
    if (text.front() == '#' || text.front() == ';') {
      continue;
    }
    if (text.front() == '[') {
      const auto close = text.find(']');
      if (close == std::string_view::npos ||
          trimmed(text.substr(1, close - 1), kWhiteSpace).empty()) {
        return wrong("expected a group such as [DEFAULT]");
      }
      group = group_key(trimmed(text.substr(1, close - 1), kWhiteSpace));
      continue;
    }
    const auto sign = text.find_first_of("=:");
    if (sign == std::string_view::npos) {
      return wrong("expected 'option = value'");
    }
    const auto name = trimmed(text.substr(0, sign), kWhiteSpace);
    if (name.empty()) {
      return wrong("no option name before the '='");
    }
    auto value = trimmed(text.substr(sign + 1), kWhiteSpace);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
        value.front() == value.back()) {
      value = value.substr(1, value.size() - 2);
    }
    auto& values = groups_[group][option_key(name)];
    values.push_back({std::string(value), file, number});
    open = &values.back();
  }
  return {};
}

const std::vector<Config::Value>* Config::find(std::string_view group,
                                               std::string_view name) const {
  const auto look = [&](const std::string& in,
                        const std::string& option) -> const std::vector<Value>* {
    const auto options = groups_.find(in);
    if (options == groups_.end()) {
      return nullptr;
    }
    const auto values = options->second.find(option);
    return values == options->second.end() ? nullptr : &values->second;
  };
  const auto in = group_key(group);
  const auto option = option_key(name);
  {
    const std::scoped_lock lock(reads_->mutex);
    reads_->asked.insert(in + '.' + option);
  }
  if (const auto* values = look(in, option)) {
    return values;
  }
  for (const auto& older : kOlderNames) {
    if (older.group != in || older.name != option) {
      continue;
    }
    const auto key = full_key(older.older_group, older.older_name);
    const auto* values = look(std::string(older.older_group), std::string(older.older_name));
    const std::scoped_lock lock(reads_->mutex);
    reads_->asked.insert(key);
    if (values != nullptr) {
      if (reads_->noted.insert(key).second) {
        log::warn("config {}:{}: [{}] {} is an older name of [{}] {}", values->back().file,
                  values->back().line, display(older.older_group), older.older_name, display(group),
                  option);
      }
      return values;
    }
  }
  return nullptr;
}

Result<std::optional<std::string>> Config::named(std::string_view name, const std::string& group,
                                                 int depth) const {
  std::vector<std::pair<std::string, std::string>> places;  // group, option
  if (const auto dot = name.find('.'); dot != std::string_view::npos) {
    places.emplace_back(group_key(name.substr(0, dot)), option_key(name.substr(dot + 1)));
  } else {
    places.emplace_back(group, option_key(name));
    places.emplace_back("default", option_key(name));
  }
  for (const auto& [in, option] : places) {
    if (const auto* values = find(in, option)) {
      return substitute(values->back().raw, in, depth + 1).map([](std::string text) {
        return std::optional(std::move(text));
      });
    }
  }
  for (const auto& [in, option] : places) {
    std::optional<std::string> fallback;
    {
      const std::scoped_lock lock(reads_->mutex);
      if (const auto known = reads_->fallbacks.find(in + '.' + option);
          known != reads_->fallbacks.end()) {
        fallback = known->second;
      }
    }
    if (!fallback && in == "default") {
      for (const auto& shared : kSharedDefaults) {
        if (shared.name == option) {
          fallback = shared.value;
        }
      }
    }
    if (fallback) {
      return substitute(*fallback, in, depth + 1).map([](std::string text) {
        return std::optional(std::move(text));
      });
    }
  }
  return std::optional<std::string>();
}

Result<std::string> Config::substitute(std::string_view raw, const std::string& group,
                                       int depth) const {
  if (depth > kDeepestSubstitution) {
    return fail(ErrorCode::invalid, "its $substitutions refer to each other in a ring");
  }
  std::string text;
  text.reserve(raw.size());
  for (std::size_t at = 0; at < raw.size();) {
    if (raw[at] == '\\' && at + 1 < raw.size() && raw[at + 1] == '$') {
      text += '$';
      at += 2;
      continue;
    }
    if (raw[at] != '$') {
      text += raw[at++];
      continue;
    }
    if (at + 1 < raw.size() && raw[at + 1] == '$') {
      text += '$';
      at += 2;
      continue;
    }
    const bool braced = at + 1 < raw.size() && raw[at + 1] == '{';
    const std::size_t first = at + (braced ? 2 : 1);
    std::size_t last = first;
    while (last < raw.size() &&
           (last == first ? is_name_start(raw[last]) : is_name_part(raw[last]))) {
      ++last;
    }
    if (last == first || (braced && (last == raw.size() || raw[last] != '}'))) {
      text += raw[at++];  // a lone '$' stands for itself, as in oslo.config
      continue;
    }
    auto name = raw.substr(first, last - first);
    if (!braced) {
      while (name.back() == '.') {  // "$name." ends a sentence, it does not name a group
        name.remove_suffix(1);
      }
    }
    auto value = named(name, group, depth);
    if (!braced && value && !*value && name.find('.') != std::string_view::npos) {
      // "$state_path.old": no such group, so the name ends at the dot.
      name = name.substr(0, name.find('.'));
      value = named(name, group, depth);
    }
    if (!value) {
      return tl::make_unexpected(std::move(value.error()));
    }
    if (!*value) {
      return fail(ErrorCode::invalid,
                  "$" + std::string(name) + " names no option (write $$ for a dollar sign)");
    }
    text += **value;
    at = braced ? last + 1 : first + name.size();
  }
  return text;
}

tl::unexpected<Error> Config::bad(std::string_view group, std::string_view name,
                                  std::string_view value, std::string_view expected) const {
  std::string message = where(group, name).value_or("default");
  message += ": [" + display(group) + "] " + std::string(name);
  message += is_secret(name) ? "" : " = '" + std::string(value) + "'";
  message += ": expected " + std::string(expected);
  return fail(ErrorCode::invalid, std::move(message));
}

Result<std::optional<std::string>> Config::value_of(std::string_view group,
                                                    std::string_view name) const {
  const auto* values = find(group, name);
  if (values == nullptr) {
    return std::optional<std::string>();
  }
  auto text = substitute(values->back().raw, group_key(group), 0);
  if (!text) {
    return fail(ErrorCode::invalid,
                values->back().file + ":" + std::to_string(values->back().line) + ": [" +
                    display(group) + "] " + std::string(name) + ": " + text.error().message);
  }
  return std::optional(std::move(*text));
}

Result<std::string> Config::text(std::string_view group, std::string_view name,
                                 std::string_view fallback) const {
  auto value = value_of(group, name);
  if (!value) {
    return tl::make_unexpected(std::move(value.error()));
  }
  if (*value) {
    return std::move(**value);
  }
  {
    const std::scoped_lock lock(reads_->mutex);
    reads_->fallbacks.insert_or_assign(full_key(group, name), std::string(fallback));
  }
  auto text = substitute(fallback, group_key(group), 0);
  if (!text) {
    return fail(ErrorCode::invalid, "default of [" + display(group) + "] " + std::string(name) +
                                        ": " + text.error().message);
  }
  return text;
}

Result<std::optional<std::string>> Config::text(std::string_view group,
                                                std::string_view name) const {
  return value_of(group, name);
}

template <class Number>
Result<Number> Config::numeric(std::string_view group, std::string_view name, Number fallback,
                               long min, long max, std::string_view kind) const {
  auto value = value_of(group, name);
  if (!value) {
    return tl::make_unexpected(std::move(value.error()));
  }
  const auto text = *value ? trimmed(**value, kWhiteSpace) : std::string_view();
  if (text.empty()) {
    return fallback;
  }
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool within = number >= static_cast<Number>(min) && number <= static_cast<Number>(max);
  if (error != std::errc() || end != text.data() + text.size() || !within) {
    return bad(group, name, text, fmt::format("{} from {} to {}", kind, min, max));
  }
  return number;
}

Result<long> Config::integer(std::string_view group, std::string_view name, long fallback, long min,
                             long max) const {
  return numeric(group, name, fallback, min, max, "an integer");
}

Result<double> Config::number(std::string_view group, std::string_view name, double fallback,
                              long min, long max) const {
  return numeric(group, name, fallback, min, max, "a number");
}

Result<bool> Config::boolean(std::string_view group, std::string_view name, bool fallback) const {
  auto value = value_of(group, name);
  if (!value) {
    return tl::make_unexpected(std::move(value.error()));
  }
  if (!*value) {
    return fallback;
  }
  const auto text = boost::algorithm::to_lower_copy(std::string(trimmed(**value, kWhiteSpace)));
  constexpr std::array<std::string_view, 4> kTrue{"true", "1", "on", "yes"};
  constexpr std::array<std::string_view, 4> kFalse{"false", "0", "off", "no"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) {
    return true;
  }
  if (std::ranges::find(kFalse, text) != kFalse.end()) {
    return false;
  }
  return bad(group, name, **value, "true or false");
}

Result<std::vector<std::string>> Config::list(std::string_view group, std::string_view name,
                                              std::vector<std::string> fallback) const {
  auto value = value_of(group, name);
  if (!value) {
    return tl::make_unexpected(std::move(value.error()));
  }
  return *value ? split_list(**value) : std::move(fallback);
}

Result<std::vector<std::string>> Config::multi(std::string_view group,
                                               std::string_view name) const {
  std::vector<std::string> all;
  const auto* values = find(group, name);
  if (values == nullptr) {
    return all;
  }
  for (const auto& value : *values) {
    auto text = substitute(value.raw, group_key(group), 0);
    if (!text) {
      return fail(ErrorCode::invalid, value.file + ":" + std::to_string(value.line) + ": [" +
                                          display(group) + "] " + std::string(name) + ": " +
                                          text.error().message);
    }
    all.push_back(std::move(*text));
  }
  return all;
}

Result<std::string> Config::choice(std::string_view group, std::string_view name,
                                   std::string_view fallback,
                                   const std::vector<std::string_view>& choices) const {
  auto value = text(group, name, fallback);
  if (!value || std::ranges::find(choices, std::string_view(*value)) != choices.end()) {
    return value;
  }
  std::string expected = "one of";
  for (const auto choice : choices) {
    expected += (choice == choices.front() ? " " : ", ");
    expected += choice;
  }
  return bad(group, name, *value, expected);
}

std::optional<std::string> Config::where(std::string_view group, std::string_view name) const {
  const auto* values = find(group, name);
  if (values == nullptr) {
    return std::nullopt;
  }
  return values->back().file + ":" + std::to_string(values->back().line);
}

void Config::declare(OptionInfo option) const {
  const auto key = full_key(option.group, option.name);
  for (const auto& older : kOlderNames) {
    if (full_key(older.group, older.name) == key) {
      option.older.push_back("[" + display(older.older_group) + "] " +
                             std::string(older.older_name));
    }
  }
  const std::scoped_lock lock(reads_->mutex);
  if (std::ranges::none_of(reads_->declared, [&](const OptionInfo& known) {
        return full_key(known.group, known.name) == key;
      })) {
    reads_->declared.push_back(std::move(option));
  }
}

std::vector<OptionInfo> Config::options() const {
  const std::scoped_lock lock(reads_->mutex);
  return reads_->declared;
}

std::vector<Config::Changed> Config::changed_since(const Config& before) const {
  std::map<std::pair<std::string, std::string>, Takes> all;
  for (const auto* config : {&before, this}) {
    for (const auto& [group, options] : config->groups_) {
      for (const auto& [name, values] : options) {
        all.emplace(std::pair(display(group), name), Takes::restart);
      }
    }
  }
  for (const auto& option : options()) {  // a default may rest on another option
    all[{option.group, option.name}] = option.takes;
  }
  const auto value = [](const Config& config, const auto& option) {
    return config.multi(option.first, option.second).value_or(std::vector<std::string>());
  };
  std::vector<Changed> changed;
  for (const auto& [option, takes] : all) {
    if (value(*this, option) != value(before, option)) {
      changed.push_back({"[" + option.first + "] " + option.second, takes});
    }
  }
  return changed;
}

std::vector<Config::Setting> Config::settings() const {
  std::vector<Setting> all;
  for (const auto& [group, options] : groups_) {
    for (const auto& [name, values] : options) {
      for (const auto& value : values) {
        all.push_back({display(group), name, masked(name, value.raw),
                       value.file + ":" + std::to_string(value.line)});
      }
    }
  }
  return all;
}

std::vector<Config::Setting> Config::in_effect() const {
  std::vector<Setting> all;
  for (const auto& option : options()) {
    const auto* values = find(option.group, option.name);
    const auto& raw = values != nullptr ? values->back().raw : option.fallback;
    all.push_back({option.group, option.name,
                   masked(option.name, substitute(raw, group_key(option.group), 0).value_or(raw)),
                   where(option.group, option.name).value_or("")});
  }
  return all;
}

std::vector<Config::Setting> Config::unread() const {
  auto all = settings();
  const std::scoped_lock lock(reads_->mutex);
  std::erase_if(all, [&](const Setting& setting) {
    return reads_->asked.contains(full_key(setting.group, setting.name));
  });
  return all;
}

}  // namespace metatap
