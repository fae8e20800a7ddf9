// SPDX-License-Identifier: Apache-2.0
#include "sys/expedited_rcu.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "metatap/unique_fd.hpp"

namespace metatap::sys {
namespace {

constexpr char kLong = '0', kShort = '1';

/// The first character of a small file; nullopt: it cannot be read.
std::optional<char> read_flag(const std::filesystem::path& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  char value = '\0';
  return fd && ::read(fd.get(), &value, 1) == 1 ? std::optional(value) : std::nullopt;
}

bool write_flag(const std::filesystem::path& file, char value, int flags = 0) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600));
  return fd && ::write(fd.get(), &value, 1) == 1;
}

}  // namespace

Status RcuSwitch::put_back() const {
  const auto before = read_flag(record);
  if (!before) {
    return {};
  }
  const auto step = "put back " + file.string();
  if (*before == kLong && read_flag(file) == kShort && !write_flag(file, *before)) {
    return fail_errno(errno, step);
  }
  if (::unlink(record.c_str()) != 0) {
    return fail_errno(errno, step);
  }
  return {};
}

ExpeditedRcu::ExpeditedRcu(const RcuSwitch& rcu, bool worth_it) : rcu_(rcu) {
  if (!worth_it || !rcu.allowed || read_flag(rcu.file) != kLong) {
    return;
  }
  // Recorded first: killed in between, the next process finds nothing to put back, or the truth.
  if (write_flag(rcu.record, kLong, O_CREAT | O_TRUNC)) {
    changed_ = write_flag(rcu.file, kShort);
    if (!changed_) {
      ::unlink(rcu.record.c_str());
    }
  }
}

ExpeditedRcu::~ExpeditedRcu() {
  if (changed_) {
    (void)rcu_.put_back();
  }
}

}  // namespace metatap::sys
