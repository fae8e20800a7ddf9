// SPDX-License-Identifier: Apache-2.0
// Any text as a configuration file: an error or a Config whose every value can be read.
#include "base/config.hpp"
#include "fuzz/fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = metatap::Config::parse(metatap::fuzz::as_text(data, size), "fuzz.conf");
  if (config) {
    for (const auto& setting : config->settings()) {
      static_cast<void>(config->text(setting.group, setting.name));
      static_cast<void>(config->integer(setting.group, setting.name, 1, 0, 100));
      static_cast<void>(config->boolean(setting.group, setting.name, false));
      static_cast<void>(config->list(setting.group, setting.name, {}));
      static_cast<void>(config->multi(setting.group, setting.name));
      static_cast<void>(config->where(setting.group, setting.name));
    }
  }
  return 0;
}
