// SPDX-License-Identifier: Apache-2.0
#include "sys/link_instance.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace metatap::sys {

std::uint64_t link_instance(const std::string& name, unsigned ifindex) {
  constexpr std::uint64_t kByIndex = std::uint64_t{1} << 63U;
  const auto device = std::filesystem::path("/sys/class/net") / name;
  struct stat about{};
  unsigned index = 0;
  // The directory first: if the index is right after it, it was this device's.
  if (::stat(device.c_str(), &about) != 0 || !(std::ifstream(device / "ifindex") >> index) ||
      index != ifindex) {
    return kByIndex | ifindex;
  }
  return about.st_ino;
}

}  // namespace metatap::sys
