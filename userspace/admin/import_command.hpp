// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "admin/cli.hpp"
#include "admin/terminal.hpp"
#include "importer/wish.hpp"

namespace metatap::admin {

/// `metatap import neutron|nova|openrc`.
class ImportCommand {
 public:
  /// `done` gets what the command returns to the shell.
  void add_to(CLI::App& app, Terminal& terminal, const Import& import,
              const std::function<void(Exit)>& done);

 private:
  importer::Wish wish_;
  std::string openrc_, output_;
  double pause_ = 0;
};

}  // namespace metatap::admin
