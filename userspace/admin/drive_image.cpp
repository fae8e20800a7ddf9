// SPDX-License-Identifier: Apache-2.0
#include "admin/drive_image.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <memory>
#include <set>
#include <utility>

#include "base/scratch.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::admin {
namespace {

constexpr off_t kVfatSize = 64 << 20;

Status check(const std::vector<ImageFile>& files) {
  for (const auto& file : files) {
    const std::filesystem::path path(file.path);
    bool good = !file.path.empty() && path.is_relative() && path.has_filename();
    for (const auto& part : path) {
      good = good && part != ".." && part != ".";
    }
    if (!good) {
      return fail(ErrorCode::invalid, "not a path within the drive: " + file.path);
    }
  }
  return {};
}

// --- iso9660 ------------------------------------------------------------------------------------

struct ArchiveFree {
  void operator()(archive* a) const { ::archive_write_free(a); }
  void operator()(archive_entry* e) const { ::archive_entry_free(e); }
};

/// libarchive spells the volume id in the standard's few characters, and guests look for the label
/// as it is: it is put in as genisoimage puts it, in the primary descriptor and in Joliet's.
Status write_volume_id(int fd, std::string_view label) {
  constexpr off_t kSector = 2048, kFirst = 16, kVolumeId = 40;
  constexpr std::size_t kLength = 32;
  constexpr unsigned char kPrimary = 1, kSupplementary = 2, kEnd = 255;
  for (off_t sector = kFirst;; ++sector) {
    unsigned char type = 0;
    if (::pread(fd, &type, 1, sector * kSector) != 1) {
      return fail(ErrorCode::internal, "the image has no volume descriptors");
    }
    if (type == kEnd) {
      return {};
    }
    std::string id;
    if (type == kPrimary) {
      id = label;
      id.resize(kLength, ' ');
    } else if (type == kSupplementary) {  // UCS-2, big-endian
      for (std::size_t at = 0; at < kLength / 2; ++at) {
        id.push_back('\0');
        id.push_back(at < label.size() ? label[at] : ' ');
      }
    } else {
      continue;
    }
    if (::pwrite(fd, id.data(), id.size(), sector * kSector + kVolumeId) !=
        static_cast<ssize_t>(id.size())) {
      return fail_errno(errno, "write the volume id");
    }
  }
}

Status write_iso(std::string_view label, const std::vector<ImageFile>& files, int fd) {
  const std::unique_ptr<archive, ArchiveFree> image(::archive_write_new());
  const auto failed = [&](std::string_view step) {
    const char* text = ::archive_error_string(image.get());
    return fail(ErrorCode::internal,
                fmt::format("iso9660: {}: {}", step, text != nullptr ? text : "unknown"));
  };
  ::archive_write_set_format_iso9660(image.get());
  // Nothing compressed (zisofs): as plain as genisoimage makes it.
  constexpr std::array<std::pair<const char*, const char*>, 5> kOptions{{{"rockridge", "strict"},
                                                                         {"joliet", "long"},
                                                                         {"zisofs", nullptr},
                                                                         {"iso-level", "3"},
                                                                         {"publisher", "metatap"}}};
  for (const auto& [key, value] : kOptions) {
    if (::archive_write_set_format_option(image.get(), "iso9660", key, value) < ARCHIVE_WARN) {
      return failed(key);
    }
  }
  if (::archive_write_set_format_option(image.get(), "iso9660", "volume-id",
                                        std::string(label).c_str()) < ARCHIVE_WARN) {
    return failed("volume-id");
  }
  if (::archive_write_open_fd(image.get(), fd) != ARCHIVE_OK) {
    return failed("open");
  }
  const std::time_t now = std::time(nullptr);
  const auto add = [&](const std::string& path, mode_t type, mode_t mode,
                       std::string_view contents) -> Status {
    const std::unique_ptr<archive_entry, ArchiveFree> entry(::archive_entry_new());
    ::archive_entry_set_pathname_utf8(entry.get(), path.c_str());
    ::archive_entry_set_filetype(entry.get(), type);
    ::archive_entry_set_perm(entry.get(), mode);
    ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(contents.size()));
    ::archive_entry_set_mtime(entry.get(), now, 0);
    ::archive_entry_set_atime(entry.get(), now, 0);
    ::archive_entry_set_ctime(entry.get(), now, 0);
    if (::archive_write_header(image.get(), entry.get()) != ARCHIVE_OK) {
      return failed(path);
    }
    if (!contents.empty() && ::archive_write_data(image.get(), contents.data(), contents.size()) !=
                                 static_cast<la_ssize_t>(contents.size())) {
      return failed(path);
    }
    return {};
  };
  constexpr mode_t kDirectoryMode = 0555, kFileMode = 0444;
  std::set<std::string> directories;
  for (const auto& file : files) {
    for (auto slash = file.path.find('/'); slash != std::string::npos;
         slash = file.path.find('/', slash + 1)) {
      const auto directory = file.path.substr(0, slash);
      if (directories.insert(directory).second) {
        if (auto status = add(directory, AE_IFDIR, kDirectoryMode, {}); !status) {
          return status;
        }
      }
    }
    if (auto status = add(file.path, AE_IFREG, kFileMode, file.contents); !status) {
      return status;
    }
  }
  if (::archive_write_close(image.get()) != ARCHIVE_OK) {
    return failed("close");
  }
  return write_volume_id(fd, label);
}

// --- vfat ---------------------------------------------------------------------------------------

std::filesystem::path program(std::string_view name) {
  for (const auto* folder : {"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"}) {
    auto path = std::filesystem::path(folder) / name;
    if (::access(path.c_str(), X_OK) == 0) {
      return path;
    }
  }
  return {};
}

/// Runs a program to its end; what it says is the error's reason.
Status run(std::vector<std::string> command) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail_errno(errno, "pipe");
  }
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDERR_FILENO);
  std::vector<char*> arguments;
  for (auto& argument : command) {
    arguments.push_back(argument.data());
  }
  arguments.push_back(nullptr);
  // mtools: no complaint about a size that is no floppy's, no configuration of the caller's.
  std::array environment{std::string("PATH=/usr/bin:/bin:/usr/sbin:/sbin"), std::string("LC_ALL=C"),
                         std::string("MTOOLS_SKIP_CHECK=1"), std::string("MTOOLSRC=/dev/null")};
  std::array<char*, 5> variables{};
  for (std::size_t at = 0; at < environment.size(); ++at) {
    variables.at(at) = environment.at(at).data();
  }
  pid_t child = -1;
  const int error =
      ::posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), variables.data());
  ::posix_spawn_file_actions_destroy(&actions);
  input.reset();
  if (error != 0) {
    return fail_errno(error, "run " + command[0]);
  }
  std::string said;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(output.get(), buffer.data(), buffer.size())) > 0;) {
    said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) {
    return fail(ErrorCode::internal, command[0] + ": " + said.substr(0, said.find('\n')));
  }
  return {};
}

Status write_vfat(std::string_view label, const std::vector<ImageFile>& files,
                  const Scratch& image) {
  const auto make = program("mkfs.vfat");
  const auto copy = program("mcopy");
  if (make.empty() || copy.empty()) {
    return fail(ErrorCode::unsupported, make.empty() ? "vfat needs mkfs.vfat (package dosfstools)"
                                                     : "vfat needs mcopy (package mtools)");
  }
  if (::ftruncate(image.fd.get(), kVfatSize) != 0) {
    return fail_errno(errno, "write " + image.path().string());
  }
  const auto tree = Scratch::directory();
  if (!tree) {
    return tl::make_unexpected(tree.error());
  }
  std::vector<std::string> copying{copy, "-s", "-Q", "-i", image.path()};
  std::set<std::string> tops;
  for (const auto& file : files) {
    const auto path = tree->path() / file.path;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream stream(path, std::ios::binary);
    stream << file.contents;
    if (!stream.flush()) {
      return fail_errno(errno, "write " + path.string());
    }
    if (const auto top = file.path.substr(0, file.path.find('/')); tops.insert(top).second) {
      copying.push_back(tree->path() / top);
    }
  }
  copying.emplace_back("::/");
  return run({make, "-n", std::string(label), image.path()}).and_then([&] {
    return run(std::move(copying));
  });
}

}  // namespace

Status write_image(ImageFormat format, std::string_view label, const std::vector<ImageFile>& files,
                   const std::filesystem::path& target) {
  if (auto status = check(files); !status) {
    return status;
  }
  auto image = Scratch::file(target);
  if (!image) {
    return tl::make_unexpected(std::move(image.error()));
  }
  auto written = format == ImageFormat::iso9660 ? write_iso(label, files, image->fd.get())
                                                : write_vfat(label, files, *image);
  if (!written) {
    return std::move(written).map_error(
        [&](Error error) { return std::move(error).in("write " + target.string()); });
  }
  return image->keep_as(target);
}

}  // namespace metatap::admin
