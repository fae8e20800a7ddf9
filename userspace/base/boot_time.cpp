// SPDX-License-Identifier: Apache-2.0
#include "base/boot_time.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace metatap {

std::string this_boot() {
  auto id = read_file("/proc/sys/kernel/random/boot_id");
  if (!id) {
    log::warn("{}: what is remembered ends with this process", id.error().message);
    return "process " + std::to_string(boot_time());
  }
  return std::string(trimmed(*id, kWhiteSpace));
}

}  // namespace metatap
