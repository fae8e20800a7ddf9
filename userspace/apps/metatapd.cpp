// SPDX-License-Identifier: Apache-2.0
// The daemon: reads its options and runs the stages it was asked for.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "apps/daemon.hpp"
#include "apps/sections.hpp"
#include "apps/settings.hpp"
#include "apps/uninstall.hpp"
#include "apps/version.hpp"
#include "base/log.hpp"
#include "base/option_text.hpp"

namespace {

constexpr int kExitFailure = 1;
constexpr int kExitConfig = 78;  // EX_CONFIG of sysexits.h, which systemd knows by name

}  // namespace

int main(int argc, char** argv) {
  using metatap::apps::Daemon;
  using metatap::apps::DaemonOptions;

  CLI::App app{
      "Serves instance metadata to the guests of this host.\n"
      "Without --config-file, /etc/metatap/metatapd.conf is read if it exists."};
  app.footer("Example: metatapd --check --config-dir /etc/metatap/metatapd.conf.d");
  DaemonOptions options;
  std::vector<std::string> files;
  std::string directory;
  std::string stages = "dataplane,proxy,agent,api";
  std::string steering = "bpf";
  std::string level = "info";
  std::string form;
  bool check = false, uninstall = false;
  app.add_option("--config-file", files, "INI file, oslo.config's dialect; may be repeated")
      ->check(CLI::ExistingFile);
  app.add_option("--config-dir", directory, "directory of *.conf files, read after the files")
      ->check(CLI::ExistingDirectory);
  app.add_option("--stages", stages, "which stages run here: any of dataplane,proxy,agent,api")
      ->capture_default_str();
  app.add_option("--steering", steering,
                 "bpf: TC programs on the guests' devices; listen: only listeners in router and "
                 "DHCP namespaces, for kernels or containers without BPF")
      ->check(CLI::IsMember({"bpf", "listen"}))
      ->capture_default_str();
  app.add_option("--log-level", level, "how much is written to stderr")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--worker-channel", options.channel)
      ->group("");  // a supervisor's word to its worker
  app.add_flag("--check", check, "read and check the configuration, then exit");
  app.add_flag("--uninstall", uninstall,
               "take away what a daemon of this configuration has left on the host, then exit");
  app.add_option("--options", form, "write what options there are, as markdown or a manual page")
      ->check(CLI::IsMember({"markdown", "manual"}));
  app.set_version_flag("--version", metatap::apps::version_of("metatapd"));
  CLI11_PARSE(app, argc, argv);

  if (!form.empty()) {
    std::cout << (form == "markdown" ? metatap::options_as_markdown : metatap::options_as_manual)(
        metatap::apps::sections(), metatap::apps::Settings::all_options());
    return 0;
  }
  metatap::log::set_level(level);
  options.arguments.assign(argv, argv + argc);

  if (files.empty() && directory.empty() && std::filesystem::exists("/etc/metatap/metatapd.conf")) {
    files.emplace_back("/etc/metatap/metatapd.conf");
  }
  options.config_files.assign(files.begin(), files.end());
  if (!directory.empty()) {
    options.config_directory = directory;
  }
  options.steering =
      steering == "listen" ? metatap::apps::Steering::listen : metatap::apps::Steering::bpf;
  try {
    if (const auto parsed = options.set_stages(stages); !parsed) {
      metatap::log::error("{}", parsed.error().message);
      return kExitConfig;
    }
    if (uninstall) {
      if (const auto done = metatap::apps::uninstall(options); !done) {
        metatap::log::error("{}", done.error().message);
        return kExitFailure;
      }
      return 0;
    }
    auto daemon = Daemon::build(options);
    if (!daemon) {
      metatap::log::error("{}", daemon.error().message);
      return daemon.error().code == metatap::ErrorCode::invalid ? kExitConfig : kExitFailure;
    }
    if (check) {
      if (const auto checked = (*daemon)->check(); !checked) {
        metatap::log::error("{}", checked.error().message);
        return kExitConfig;
      }
      metatap::log::info("the configuration is good");
      return 0;
    }
    if (const auto ran = (*daemon)->run(); !ran) {
      metatap::log::error("{}", ran.error().message);
      return kExitFailure;
    }
  } catch (const std::exception& error) {
    metatap::log::error("unexpected: {}", error.what());
    return kExitFailure;
  }
  return 0;
}
