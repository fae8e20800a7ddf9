// SPDX-License-Identifier: Apache-2.0
#include "libvirt/options.hpp"

#include "base/option_reader.hpp"

namespace metatap::libvirt {

Result<LibvirtOptions> LibvirtOptions::from(const Config& config) {
  LibvirtOptions options;
  OptionReader read(config);
  read.text({"inventory", "libvirt_uri",
             "With source = libvirt: whose guests are served; a connection of this host's"},
            options.uri);
  read.text({"inventory", "guests_path",
             "With source = libvirt: a directory for each guest by its name, and 'default', with "
             "NoCloud's meta-data, user-data and vendor-data"},
            options.guests);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

}  // namespace metatap::libvirt
