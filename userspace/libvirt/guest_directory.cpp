// SPDX-License-Identifier: Apache-2.0
#include "libvirt/guest_directory.hpp"

#include <string>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "libvirt/meta_data.hpp"

namespace metatap::libvirt {
namespace {

constexpr std::string_view kMetaData = "meta-data", kUserData = "user-data",
                           kVendorData = "vendor-data", kNetworkConfig = "network-config";

/// nullopt: it is not there.
Result<std::optional<std::string>> read_if_there(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) {
    return std::nullopt;
  }
  auto text = read_file(file);
  if (!text) {
    return tl::make_unexpected(std::move(text.error()));
  }
  return *std::move(text);
}

}  // namespace

Result<std::optional<GuestData>> read_guest_directory(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    if (error && error != std::errc::no_such_file_or_directory &&
        error != std::errc::not_a_directory) {
      return fail_errno(error.value(), directory.string());
    }
    return std::nullopt;
  }
  GuestData data;
  if (std::filesystem::exists(directory / kNetworkConfig, error)) {
    return fail(ErrorCode::unsupported,
                (directory / kNetworkConfig).string() +
                    ": the metadata service has no place for it; the guest's network is what the "
                    "domain's interfaces say");
  }
  auto meta_data = read_if_there(directory / kMetaData);
  auto user_data = read_if_there(directory / kUserData);
  auto vendor_data = read_if_there(directory / kVendorData);
  for (const auto* text : {&meta_data, &user_data, &vendor_data}) {
    if (!*text) {
      return tl::make_unexpected(text->error());
    }
  }
  if (!*meta_data && !*user_data && !*vendor_data) {
    return fail(ErrorCode::not_found,
                directory.string() + ": neither meta-data nor user-data nor vendor-data is in it");
  }
  if (*meta_data) {
    if (auto read = read_meta_data(**meta_data, data); !read) {
      return tl::make_unexpected(std::move(read.error()).in((directory / kMetaData).string()));
    }
  }
  data.user_data = *std::move(user_data);
  data.vendor_data = *std::move(vendor_data);
  return data;
}

}  // namespace metatap::libvirt
