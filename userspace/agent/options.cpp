// SPDX-License-Identifier: Apache-2.0
#include "agent/options.hpp"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

namespace metatap::agent {
namespace {

/// Reads one option after the other and remembers the first that is wrong.
class Reader {
 public:
  explicit Reader(const Config& config) : config_(config) {}

  void text(std::string_view group, std::string_view name, std::string& into) {
    take(config_.text(group, name, into), into);
  }
  void boolean(std::string_view group, std::string_view name, bool& into) {
    take(config_.boolean(group, name, into), into);
  }
  template <class T>
  void integer(std::string_view group, std::string_view name, T& into, long min, long max) {
    long number = static_cast<long>(into);
    take(config_.integer(group, name, number, min, max), number);
    into = static_cast<T>(number);
  }
  std::string choice(std::string_view group, std::string_view name, std::string_view fallback,
                     const std::vector<std::string_view>& choices) {
    std::string chosen(fallback);
    take(config_.choice(group, name, fallback, choices), chosen);
    return chosen;
  }
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

std::string user_name(uid_t uid) {
  std::array<char, 4096> memory;
  passwd entry{};
  passwd* found = nullptr;
  return getpwuid_r(uid, &entry, memory.data(), memory.size(), &found) == 0 && found != nullptr
             ? found->pw_name
             : "";
}

std::string group_name(gid_t gid) {
  std::array<char, 16384> memory;
  group entry{};
  group* found = nullptr;
  return getgrgid_r(gid, &entry, memory.data(), memory.size(), &found) == 0 && found != nullptr
             ? found->gr_name
             : "";
}

}  // namespace

Result<AgentOptions> AgentOptions::from(const Config& config) {
  AgentOptions options;
  Reader read(config);
  read.text("DEFAULT", "nova_metadata_host", options.nova_metadata_host);
  read.integer("DEFAULT", "nova_metadata_port", options.nova_metadata_port, 1, 65535);
  options.nova_metadata_tls =
      read.choice("DEFAULT", "nova_metadata_protocol", "http", {"http", "https"}) == "https";
  read.boolean("DEFAULT", "nova_metadata_insecure", options.nova_metadata_insecure);
  read.text("DEFAULT", "auth_ca_cert", options.auth_ca_cert);
  read.text("DEFAULT", "nova_client_cert", options.nova_client_cert);
  read.text("DEFAULT", "nova_client_priv_key", options.nova_client_priv_key);
  read.text("DEFAULT", "metadata_proxy_shared_secret", options.metadata_proxy_shared_secret);
  std::string socket = "$state_path/metadata_proxy";
  read.text("DEFAULT", "metadata_proxy_socket", socket);
  options.metadata_proxy_socket = socket;
  options.metadata_proxy_socket_mode = read.choice("DEFAULT", "metadata_proxy_socket_mode",
                                                   "deduce", {"deduce", "user", "group", "all"});
  read.text("DEFAULT", "metadata_proxy_user", options.metadata_proxy_user);
  read.text("DEFAULT", "metadata_proxy_group", options.metadata_proxy_group);
  options.metadata_workers = std::max(1U, std::thread::hardware_concurrency() / 2);
  read.integer("DEFAULT", "metadata_workers", options.metadata_workers, 0, 1024);
  read.integer("DEFAULT", "metadata_backlog", options.metadata_backlog, 1, 1 << 20);

  const auto source =
      read.choice("agent", "directory", "inventory", {"inventory", "neutron", "ovn"});
  options.directory = source == "neutron" ? DirectorySource::neutron
                      : source == "ovn"   ? DirectorySource::ovn
                                          : DirectorySource::inventory;
  long seconds = options.retry_after.count();
  read.integer("agent", "retry_after", seconds, 1, 3600);
  options.retry_after = std::chrono::seconds(seconds);
  seconds = 60;
  read.integer("agent", "nova_timeout", seconds, 1, 3600);
  options.nova_timeout = std::chrono::seconds(seconds);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

mode_t socket_mode(const AgentOptions& options) {
  constexpr mode_t kUser = 0644;
  constexpr mode_t kGroup = 0664;
  constexpr mode_t kAll = 0666;
  const auto& mode = options.metadata_proxy_socket_mode;
  if (mode != "deduce") {
    return mode == "user" ? kUser : mode == "group" ? kGroup : kAll;
  }
  const auto& user = options.metadata_proxy_user;
  const auto uid = ::geteuid();
  if (user.empty() || user == "0" || user == "root" || user == std::to_string(uid) ||
      user == user_name(uid)) {
    return kUser;
  }
  const auto& group = options.metadata_proxy_group;
  const auto gid = ::getegid();
  if (group.empty() || group == std::to_string(gid) || group == group_name(gid)) {
    return kGroup;
  }
  return kAll;
}

}  // namespace metatap::agent
