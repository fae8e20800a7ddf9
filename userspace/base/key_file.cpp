// SPDX-License-Identifier: Apache-2.0
#include "base/key_file.hpp"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "metatap/unique_fd.hpp"

namespace metatap {
namespace {

constexpr mode_t kWriters = S_IWGRP | S_IWOTH;

std::string parent_of(const std::filesystem::path& file) {
  const auto parent = file.parent_path();
  return parent.empty() ? "." : parent.string();
}

/// Whether nobody can have put the file there who could not also replace it.
bool from_a_trusted_owner(const struct stat& file, const struct stat& directory) {
  if (file.st_uid == 0 || file.st_uid == ::geteuid() || file.st_uid == directory.st_uid) {
    return true;
  }
  // Only a member makes a file of the group in a directory that is open to no others.
  return (directory.st_mode & kWriters) == S_IWGRP && file.st_gid == directory.st_gid;
}

/// Why the key in it is not to be believed; empty: it is.
std::string objection(const struct stat& file, const struct stat& directory) {
  if (!S_ISREG(file.st_mode)) {
    return "it is no regular file";
  }
  if (!from_a_trusted_owner(file, directory)) {
    return "it belongs to user " + std::to_string(file.st_uid) +
           ", who is neither root nor we nor the owner of the directory; remove it, and a new one "
           "is made";
  }
  if ((file.st_mode & (S_IWGRP | S_IRWXO)) != 0) {
    return "others than its owner may write it, or all may read it; remove it, and a new one is "
           "made, or set its mode to 0640 or 0600";
  }
  return {};
}

/// A file that goes unless it got its name.
class Draft {
 public:
  explicit Draft(const std::filesystem::path& file) : path_(file.string() + ".XXXXXX") {
    fd_.reset(::mkostemp(path_.data(), O_CLOEXEC));  // mode 0600
  }
  ~Draft() {
    if (fd_) {
      ::unlink(path_.c_str());
    }
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Fails with EEXIST where somebody was first.
  [[nodiscard]] bool publish(const std::filesystem::path& file) const {
    return ::link(path_.c_str(), file.c_str()) == 0;
  }
  /// In the place of whatever is there.
  [[nodiscard]] bool replace(const std::filesystem::path& file) const {
    return ::rename(path_.c_str(), file.c_str()) == 0;
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

/// A file beside `file`, with its bytes safe on the disk and its mode set.
Status write_draft(const Draft& draft, const std::filesystem::path& file, std::string_view bytes,
                   const std::string& step) {
  const std::string parent = parent_of(file);
  struct stat directory{};
  if (draft.fd() < 0 || ::stat(parent.c_str(), &directory) != 0) {
    return fail_errno(errno, step);
  }
  if (::fchown(draft.fd(), static_cast<uid_t>(-1), directory.st_gid) == 0 &&
      ::fchmod(draft.fd(), 0640) != 0) {
    return fail_errno(errno, step);
  }
  const auto written = ::write(draft.fd(), bytes.data(), bytes.size());
  if (written != static_cast<ssize_t>(bytes.size())) {
    return fail_errno(written < 0 ? errno : ENOSPC, step);
  }
  // The name must not outlive a crash of the host that the bytes do not.
  if (::fdatasync(draft.fd()) != 0) {
    return fail_errno(errno, step);
  }
  return {};
}

Status make_parent(const std::filesystem::path& file, const std::string& step) {
  std::error_code error;
  if (std::filesystem::create_directories(parent_of(file), error); error) {
    return fail_errno(error.value(), step + ": create " + parent_of(file));
  }
  return {};
}

Status make_key_file(const std::filesystem::path& file) {
  const std::string step = "make the key file " + file.string();
  if (auto made = make_parent(file, step); !made) {
    return made;
  }
  std::string bytes(kKeyBytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) !=
      1) {
    return fail(ErrorCode::internal, step + ": no random bytes");
  }
  const Draft draft(file);
  if (auto written = write_draft(draft, file, bytes, step); !written) {
    return written;
  }
  if (!draft.publish(file) && errno != EEXIST) {
    return fail_errno(errno, step);
  }
  return {};
}

}  // namespace

Status replace_key_file(const std::filesystem::path& file, std::string_view bytes) {
  const std::string step = "write the key file " + file.string();
  if (auto made = make_parent(file, step); !made) {
    return made;
  }
  const Draft draft(file);
  if (auto written = write_draft(draft, file, bytes, step); !written) {
    return written;
  }
  return draft.replace(file) ? Status() : fail_errno(errno, step);
}

Result<std::string> read_key_file(const std::filesystem::path& file) {
  const std::string step = "read the key file " + file.string();
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat found{};
  struct stat directory{};
  if (!fd || ::fstat(fd.get(), &found) != 0 || ::stat(parent_of(file).c_str(), &directory) != 0) {
    return fail_errno(errno, step);
  }
  if (auto why = objection(found, directory); !why.empty()) {
    return fail(ErrorCode::denied, step + ": " + why);
  }
  std::string bytes(4096, '\0');
  const auto size = ::read(fd.get(), bytes.data(), bytes.size());
  if (size < 0) {
    return fail_errno(errno, step);
  }
  if (static_cast<std::size_t>(size) < kKeyBytes) {
    return fail(ErrorCode::invalid, step + ": it has " + std::to_string(size) +
                                        " bytes, a key has " + std::to_string(kKeyBytes) +
                                        " or more; remove it, and a new one is made");
  }
  bytes.resize(static_cast<std::size_t>(size));
  return bytes;
}

Result<std::string> read_or_make_key_file(const std::filesystem::path& file) {
  auto bytes = read_key_file(file);
  if (bytes || bytes.error().code != ErrorCode::not_found) {
    return bytes;
  }
  if (auto made = make_key_file(file); !made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  return read_key_file(file);
}

}  // namespace metatap
