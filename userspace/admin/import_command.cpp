// SPDX-License-Identifier: Apache-2.0
#include "admin/import_command.hpp"

#include <chrono>
#include <tuple>

namespace metatap::admin {
namespace {

using Json = Terminal::Json;

Json json_of(const importer::Wish& wish, const importer::Imported& imported) {
  const auto& document = imported.counts;
  Json not_told = Json::array();
  for (const auto& [key, why] : imported.not_told) {
    not_told.push_back({{"key", key}, {"why", why}});
  }
  return {{"file", wish.target.string()},  {"networks", document.networks},
          {"subnets", document.subnets},   {"routers", document.routers},
          {"ports", document.ports},       {"servers", document.servers},
          {"left_out", document.left_out}, {"not_told", std::move(not_told)}};
}

Exit run(const Terminal& terminal, const Import& import, const importer::Wish& wish) {
  bool read = true;  // whether somebody reads the document
  const importer::Outlet outlet{
      .say = [&](const std::string& text) { terminal.complain(text); },
      .document = [&](std::string_view text) { return read = terminal.write(text); },
      .ended = told_to_end,
      .pause = pause_for};
  const auto imported = import(wish, outlet);
  if (!read) {
    return Exit::nobody_reads;
  }
  if (!imported) {
    return terminal.failed(imported.error());
  }
  if (terminal.json && !wish.target.empty()) {
    terminal.print(json_of(wish, *imported), [](const Json&) { return std::string(); });
  }
  return Exit::done;
}

}  // namespace

void ImportCommand::add_to(CLI::App& app, Terminal& terminal, const Import& import,
                           const std::function<void(Exit)>& done) {
  auto* all = app.add_subcommand("import", "write an inventory of what OpenStack's APIs tell");
  all->require_subcommand(1);
  all->footer("Example: metatap import openrc admin-openrc.sh >inventory.json");
  for (const auto& [name, what, neutron, nova] :
       {std::tuple("neutron", "networks, subnets, routers and ports", true, false),
        std::tuple("nova", "servers", false, true),
        std::tuple("openrc", "both, with the credentials of an openrc file", true, true)}) {
    auto* source = all->add_subcommand(name, what);
    source->footer("Example: metatap import " + std::string(name) +
                   " -o inventory.json --follow 60");
    constexpr auto kOpenrc =
        "an openrc file; it is read, not run. Default: OS_CLOUD of a clouds.yaml, or OS_… of the "
        "environment";
    if (neutron && nova) {
      source->add_option("FILE", openrc_, kOpenrc);
    } else {
      source->add_option("--openrc", openrc_, kOpenrc);
    }
    source->add_option("--os-cloud", wish_.credentials.cloud, "a cloud of clouds.yaml");
    if (nova) {
      source->add_flag("--own-project", wish_.own_project,
                       "the credential's servers alone; all projects' take an administrator");
    }
    auto* output = source->add_option("-o,--output", output_,
                                      "the file, replaced as a whole; default: standard output");
    source->add_option("--follow", pause_, "follow what changes, asking every so many seconds")
        ->expected(0, 1)
        ->default_str("30")
        ->check(CLI::Range(1.0, 86400.0))
        ->needs(output)
        ->each([this](const std::string& seconds) {
          wish_.follow = std::chrono::seconds(static_cast<int>(std::stod(seconds)));
        });
    source->callback([this, &terminal, import, done, neutron = neutron, nova = nova] {
      wish_.neutron = neutron;
      wish_.nova = nova;
      wish_.credentials.openrc = openrc_;
      wish_.target = output_ == "-" ? "" : output_;
      if (wish_.follow && wish_.target.empty()) {
        terminal.complain("--follow takes a file: -o FILE");
        done(Exit::usage);
      } else {
        done(run(terminal, import, wish_));
      }
    });
  }
}

}  // namespace metatap::admin
