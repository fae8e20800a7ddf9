// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <exception>
#include <iostream>

#include "admin/cli.hpp"
#include "apps/kernel_findings.hpp"
#include "apps/version.hpp"
#include "importer/importer.hpp"

namespace {

metatap::Result<metatap::importer::Imported> import_inventory(
    metatap::importer::Wish wish, const metatap::importer::Outlet& outlet) {
  wish.credentials.environment = metatap::importer::environment();
  return metatap::importer::run(wish, outlet);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a pipe that closes is told by its exit status
  try {
    return metatap::admin::run_cli({argv + 1, argv + argc}, std::cin, std::cout, std::cerr,
                                   metatap::apps::version_of("metatap"),
                                   metatap::apps::kernel_findings, import_inventory);
  } catch (const std::exception& error) {
    std::cerr << "metatap: " << error.what() << "\n";
    return static_cast<int>(metatap::admin::Exit::failed);
  }
}
