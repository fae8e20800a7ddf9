// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inventory/service.hpp"
#include "unit/inventory/temporary_directory.hpp"
#include "unit/waiting.hpp"

namespace metatap {

using namespace std::chrono_literals;

inline constexpr auto kLimit = 1s;  ///< for one answer of the server

/// A PostgreSQL of one test: its own data, reachable by a UNIX socket only. PostgreSQL refuses to
/// run as root, so it runs as nobody then.
class Server {
 public:
  /// Why it cannot run here; empty: it can.
  static std::string missing() {
    return binaries().empty() ? "PostgreSQL's server programs are not installed" : "";
  }

  Server() {
    if (::geteuid() == 0) {
      user_ = ::getpwnam("nobody");
      EXPECT_EQ(::chown(directory_.path().c_str(), user_->pw_uid, user_->pw_gid), 0);
    }
    EXPECT_EQ(run({binaries() / "initdb", "-D", data(), "-U", "metatap", "-A", "trust", "-N",
                   "--no-instructions"}),
              0)
        << log();
    start();
  }
  ~Server() { stop(SIGQUIT); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void start() {
    process_ = spawn({binaries() / "postgres", "-D", data(), "-k", directory_.path().string(), "-h",
                      "", "-c", "fsync=off"});
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (std::chrono::steady_clock::now() < end) {
      try {
        const pqxx::connection connection(url());
        return;
      } catch (const pqxx::failure&) {
        std::this_thread::sleep_for(50ms);
      }
    }
    ADD_FAILURE() << "PostgreSQL does not start: " << log();
  }
  void stop(int signal) {
    if (process_ > 0) {
      hang(false);
      ::kill(process_, signal);
      ::waitpid(std::exchange(process_, -1), nullptr, 0);
    }
  }
  /// Stops each of its processes where it is, or lets them go on: it hangs, but its connections
  /// stand.
  void hang(bool hung) const {
    std::ifstream children("/proc/" + std::to_string(process_) + "/task/" +
                           std::to_string(process_) + "/children");
    ::kill(process_, hung ? SIGSTOP : SIGCONT);
    for (pid_t child = 0; children >> child;) {
      ::kill(child, hung ? SIGSTOP : SIGCONT);
    }
  }
  [[nodiscard]] std::string url() const {
    return "postgresql://metatap@/postgres?host=" + directory_.path().string();
  }
  void sql(const std::string& text) const {
    pqxx::connection connection(url());
    pqxx::work work(connection);
    work.exec(text);
    work.commit();
  }

 private:
  static std::filesystem::path binaries() {
    std::filesystem::path newest;
    std::error_code ignored;
    for (const auto& version :
         std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
      if (std::filesystem::exists(version.path() / "bin" / "postgres")) {
        newest = std::max(newest, version.path() / "bin");
      }
    }
    return newest;
  }
  [[nodiscard]] std::string data() const { return (directory_.path() / "data").string(); }
  [[nodiscard]] std::string log() const {
    std::ifstream file(directory_.path() / "log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  pid_t spawn(std::vector<std::string> command) const {
    const pid_t child = ::fork();
    if (child == 0) {
      const int out =
          ::open((directory_.path() / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
      ::dup2(out, STDOUT_FILENO);
      ::dup2(out, STDERR_FILENO);
      if (user_ != nullptr && (::setgroups(0, nullptr) != 0 || ::setgid(user_->pw_gid) != 0 ||
                               ::setuid(user_->pw_uid) != 0)) {
        ::_exit(126);
      }
      ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // not to outlive a test that crashes
      if (::chdir(directory_.path().c_str()) != 0) {
        ::_exit(126);
      }
      std::vector<char*> arguments;
      for (auto& argument : command) {
        arguments.push_back(argument.data());
      }
      arguments.push_back(nullptr);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    return child;
  }
  int run(std::vector<std::string> command) const {
    int status = -1;
    ::waitpid(spawn(std::move(command)), &status, 0);
    return status;
  }

  TemporaryDirectory directory_;
  const passwd* user_ = nullptr;
  pid_t process_ = -1;
};

/// One of several hosts with one database.
class Host {
 public:
  /// `part`: the name of the host if it holds what it needs alone.
  explicit Host(const std::string& url, const std::filesystem::path& state = "/nowhere",
                const std::string& part = "") {
    auto service = InventoryService::open(control_.get_executor(), {.database = url,
                                                                    .state_path = state,
                                                                    .database_timeout = kLimit,
                                                                    .host = part,
                                                                    .holds_part = !part.empty()});
    EXPECT_TRUE(service) << service.error().message;
    service_ = *std::move(service);
    EXPECT_TRUE(service_->start());
  }
  template <class F>
  bool until(F&& holds, std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds() && std::chrono::steady_clock::now() < end) {
      control_.restart();
      control_.run_for(5ms);
    }
    return holds();
  }
  InventoryService* operator->() { return service_.get(); }
  boost::asio::io_context& control() { return control_; }
  Result<Plan> apply(std::string_view document) {
    return answer_of(control_, service_->apply(std::string(document)));
  }
  Result<Plan> add(std::string object) {
    return answer_of(control_, service_->put(std::move(object), InventoryService::Mode::add));
  }

 private:
  boost::asio::io_context control_;
  std::unique_ptr<InventoryService> service_;
};

}  // namespace metatap
