// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::admin {

struct ImageFile {
  std::string path;  ///< relative, with `/`
  std::string contents;
};

enum class ImageFormat : std::uint8_t {
  iso9660,  ///< with Rock Ridge and Joliet; as large as it must be
  vfat,     ///< 64 MiB, sparse
};

/// Writes a file system image with these files; no mount, no root. The image holds secrets: it is
/// made for its owner only (0600), and takes the place of `target` only when it is complete.
/// iso9660 is made in the process (libarchive); vfat needs mkfs.vfat (dosfstools) and mcopy
/// (mtools) and names what is missing (ErrorCode::unsupported).
Status write_image(ImageFormat format, std::string_view label, const std::vector<ImageFile>& files,
                   const std::filesystem::path& target);

}  // namespace metatap::admin
