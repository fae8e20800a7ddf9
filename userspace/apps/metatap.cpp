// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>

#include "admin/cli.hpp"
#include "apps/kernel_findings.hpp"
#include "apps/version.hpp"

int main(int argc, char** argv) {
  try {
    return metatap::admin::run_cli({argv + 1, argv + argc}, std::cin, std::cout, std::cerr,
                                   metatap::apps::version_of("metatap"),
                                   metatap::apps::kernel_findings);
  } catch (const std::exception& error) {
    std::cerr << "metatap: " << error.what() << "\n";
    return static_cast<int>(metatap::admin::Exit::failed);
  }
}
