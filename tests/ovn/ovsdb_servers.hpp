// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

extern char** environ;

/// Real ovsdb-servers on UNIX sockets in a directory of their own, gone when this is.
namespace metatap::testing_support {

inline std::optional<std::filesystem::path> schema(const std::string& name) {
  for (const auto* place :
       {"/usr/share/openvswitch/", "/usr/share/ovn/", "/usr/local/share/metatap/schema/"}) {
    if (std::filesystem::path path = place + name; std::filesystem::exists(path)) {
      return path;
    }
  }
  return std::nullopt;
}

/// Why these tests cannot run here; empty when they can.
inline std::string missing() {
  for (const auto* program : {"/usr/sbin/ovsdb-server", "/usr/bin/ovsdb-tool"}) {
    if (!std::filesystem::exists(program)) {
      return std::string(program) + " is not installed (package openvswitch-common)";
    }
  }
  for (const auto* name : {"vswitch.ovsschema", "ovn-sb.ovsschema"}) {
    if (!schema(name)) {
      return std::string(name) + " is not there (scripts/ovn-schemas.sh fetches it)";
    }
  }
  return "";
}

inline pid_t launch(const std::vector<std::string>& argv, const std::string& log) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::vector<char*> raw;
  for (const auto& argument : argv) {
    raw.push_back(const_cast<char*>(argument.c_str()));
  }
  raw.push_back(nullptr);
  pid_t pid = -1;
  if (posix_spawn(&pid, raw[0], &actions, nullptr, raw.data(), environ) != 0) {
    pid = -1;
  }
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

/// Runs to the end; its exit status, and its output in the log.
inline int finish(const std::vector<std::string>& argv, const std::string& log) {
  const pid_t pid = launch(argv, log);
  int status = -1;
  if (pid > 0) {
    waitpid(pid, &status, 0);
  }
  return status;
}

class Directory {
 public:
  Directory() {
    std::string pattern = "/tmp/metatap-ovn-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

class OvsdbServer {
 public:
  OvsdbServer(const Directory& directory, std::string name)
      : base_(directory.file(std::move(name))) {}
  ~OvsdbServer() { kill(SIGKILL); }
  OvsdbServer(const OvsdbServer&) = delete;
  OvsdbServer& operator=(const OvsdbServer&) = delete;

  /// `schema_name`: one that is installed, or a path.
  bool create(const std::string& schema_name) {
    const auto path = schema_name.starts_with('/') ? schema_name : schema(schema_name)->string();
    return finish({"/usr/bin/ovsdb-tool", "create", base_ + ".db", path}, base_ + ".log") == 0;
  }
  bool create_cluster(const std::string& schema_name) {
    return finish({"/usr/bin/ovsdb-tool", "create-cluster", base_ + ".db",
                   schema(schema_name)->string(), raft()},
                  base_ + ".log") == 0;
  }
  bool join_cluster(const std::string& database, const OvsdbServer& member) {
    return finish({"/usr/bin/ovsdb-tool", "join-cluster", base_ + ".db", database, raft(),
                   member.raft()},
                  base_ + ".log") == 0;
  }
  bool start(const std::vector<std::string>& more = {}) {
    std::vector<std::string> argv{"/usr/sbin/ovsdb-server", "--no-chdir",
                                  "--unixctl=" + base_ + ".ctl",
                                  "--remote=punix:" + base_ + ".sock", "-vconsole:warn"};
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back(base_ + ".db");
    pid_ = launch(argv, base_ + ".log");
    for (int times = 0; times < 200 && pid_ > 0; ++times) {
      if (std::filesystem::exists(base_ + ".ctl") && std::filesystem::exists(base_ + ".sock")) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  void kill(int signal) {
    if (pid_ > 0) {
      ::kill(pid_, signal);
      waitpid(pid_, nullptr, 0);
      pid_ = -1;
      std::filesystem::remove(base_ + ".sock");
      std::filesystem::remove(base_ + ".ctl");
    }
  }
  [[nodiscard]] std::string remote() const { return "unix:" + base_ + ".sock"; }
  [[nodiscard]] std::string raft() const { return "unix:" + base_ + ".raft"; }
  [[nodiscard]] bool running() const { return pid_ > 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Makes the database one of that schema, as ovn-ctl does at an upgrade.
  [[nodiscard]] bool convert(const std::string& path) const {
    return finish({"/usr/bin/ovsdb-client", "convert", remote(), path}, base_ + ".log") == 0;
  }

  /// What `ovs-appctl` says.
  [[nodiscard]] std::string control(const std::string& command) const {
    return output("/usr/bin/ovs-appctl -t " + base_ + ".ctl " + command + " 2>&1");
  }
  [[nodiscard]] static std::string output(const std::string& command) {
    std::string text;
    if (FILE* pipe = popen(command.c_str(), "r")) {
      std::array<char, 4096> chunk;
      while (const auto size = fread(chunk.data(), 1, chunk.size(), pipe)) {
        text.append(chunk.data(), size);
      }
      pclose(pipe);
    }
    return text;
  }

 private:
  std::string base_;
  pid_t pid_ = -1;
};

/// One transaction; the results, or an empty array when it failed.
inline nlohmann::json transact(const std::string& remotes, const std::string& database,
                               nlohmann::json operations) {
  if (operations.is_object()) {
    operations = nlohmann::json::array({operations});
  }
  operations.insert(operations.begin(), database);
  std::string quoted;
  for (const char c : operations.dump()) {
    quoted += c == '\'' ? "'\\''" : std::string(1, c);
  }
  const auto answer = OvsdbServer::output("/usr/bin/ovsdb-client --timeout=20 transact " + remotes +
                                          " '" + quoted + "' 2>/dev/null");
  auto parsed = nlohmann::json::parse(answer, nullptr, false);
  if (!parsed.is_array()) {
    std::fprintf(stderr, "transact: %s\n", answer.c_str());
    return nlohmann::json::array();
  }
  for (const auto& result : parsed) {
    if (result.is_object() && result.contains("error")) {
      std::fprintf(stderr, "transact: %s\n", answer.c_str());
      return nlohmann::json::array();
    }
  }
  return parsed;
}

}  // namespace metatap::testing_support
