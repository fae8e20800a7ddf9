// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::libvirt {

/// Where guests are learned of, with `[inventory] source = libvirt`.
struct LibvirtOptions {
  std::string uri = "qemu:///system";                    ///< [inventory] libvirt_uri
  std::filesystem::path guests = "/etc/metatap/guests";  ///< [inventory] guests_path

  static Result<LibvirtOptions> from(const Config& config);
};

}  // namespace metatap::libvirt
