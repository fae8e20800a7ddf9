// SPDX-License-Identifier: Apache-2.0
#include "apps/settings.hpp"

#include <unistd.h>

#include <utility>

#include "agent/endpoints.hpp"
#include "apps/sections.hpp"
#include "apps/shared_secret.hpp"
#include "base/log.hpp"
#include "base/misspelt.hpp"
#include "base/option_reader.hpp"

namespace metatap::apps {
namespace {

constexpr auto kUser = "metatap";

/// Reads one stage's options into place.
template <class Options>
Status read_into(const Config& config, Options& into) {
  auto options = Options::from(config);
  if (!options) {
    return tl::make_unexpected(std::move(options.error()));
  }
  into = std::move(*options);
  return {};
}

Status read_all(const Config& config, Settings& into) {
  std::string user;
  OptionReader own(config);
  own.text({"DEFAULT", "run_path", "Sockets and what lives until the next start"}, into.run_path);
  own.seconds({"DEFAULT", "drain_time", "How long requests in progress may take at the end", "",
               Takes::reload},
              into.drain_time, 0, 3600);
  own.seconds({"DEFAULT", "hand_over_time", "How long guests are served on without a supervisor",
               "", Takes::reload},
              into.hand_over_time, 0, 3600);
  own.boolean({"DEFAULT", "debug", "Write debug lines", "", Takes::reload}, into.debug);
  own.text({"DEFAULT", "user", "Whose the process is that reads what guests send"}, user);
  if (!own.status()) {
    return own.status();
  }
  if (!user.empty()) {
    into.user = std::move(user);
  }
  for (const auto& status :
       {read_into(config, into.inventory), read_into(config, into.libvirt),
        read_into(config, into.api), read_into(config, into.agent), read_into(config, into.proxy),
        read_into(config, into.overload), read_into(config, into.port_tag),
        read_into(config, into.dataplane), read_into(config, into.metrics)}) {
    if (!status) {
      return status;
    }
  }
  into.dataplane.host = into.inventory.host;
  for (const auto& status :
       {settle_shared_secret(into.options, config, into.agent, into.api),
        into.options.agent && !into.options.proxy ? agent::check_socket_users(into.agent, config)
                                                  : Status(),
        into.port_tag_crosses_a_socket() ? PortTagKey::check(into.port_tag) : Status()}) {
    if (!status) {
      return status;
    }
  }
  // These two read groups that other programs' files use for other things.
  switch (into.agent.directory) {
    case agent::DirectorySource::inventory:
      return {};
    case agent::DirectorySource::neutron:
      return read_into(config, into.neutron);
    case agent::DirectorySource::ovn:
      return read_into(config, into.ovn);
  }
  return {};
}

}  // namespace

Result<Settings> Settings::read(DaemonOptions options) {
  auto config = Config::load(options.config_files, options.config_directory);
  if (!config) {
    return tl::make_unexpected(std::move(config.error()));
  }
  Settings settings;
  settings.options = std::move(options);
  settings.config = std::make_unique<const Config>(*std::move(config));
  auto status = read_all(*settings.config, settings);
  if (status) {
    status = refuse_misspelt(*settings.config, {sections(), all_options()});
  }
  if (!status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return settings;
}

std::vector<OptionInfo> Settings::all_options() {
  const Config nothing;
  Settings defaults;
  // That some cannot be done without does not matter here.
  static_cast<void>(read_all(nothing, defaults));
  static_cast<void>(read_into(nothing, defaults.neutron));
  static_cast<void>(read_into(nothing, defaults.ovn));
  return nothing.options();
}

void Settings::note_unread() const {
  metatap::note_unread(*config, {sections(), all_options()});
}

bool Settings::port_tag_crosses_a_socket() const {
  return options.proxy ? !options.agent && !proxy.neutron_agent : options.agent;
}

Result<std::optional<PortTagKey>> Settings::port_tag_key() const {
  if (!port_tag_crosses_a_socket()) {
    return std::nullopt;
  }
  return PortTagKey::open(port_tag).map(
      [](PortTagKey key) { return std::optional(std::move(key)); });
}

Result<sys::User> Settings::unprivileged_user() const {
  if (user) {
    return sys::find_user(*user).map_error([](Error error) {
      error.code = ErrorCode::invalid;
      return std::move(error).in("[DEFAULT] user");
    });
  }
  if (auto found = sys::find_user(kUser)) {
    return found;
  }
  auto nobody = sys::find_user("nobody");
  if (nobody && ::geteuid() == 0 && !options.channel) {  // the supervisor has said so
    log::warn(
        "there is no user {}: the stages are nobody's, who must be able to read and write what "
        "they need ([DEFAULT] user)",
        kUser);
  }
  return nobody;
}

bool Settings::with_ovn() const {
  return agent.directory == agent::DirectorySource::ovn && (options.agent || options.dataplane);
}

}  // namespace metatap::apps
