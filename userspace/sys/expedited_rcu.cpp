// SPDX-License-Identifier: Apache-2.0
#include "sys/expedited_rcu.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "metatap/unique_fd.hpp"

namespace metatap::sys {
namespace {

constexpr const char* kFile = "/sys/kernel/rcu_expedited";

bool write_flag(char value) {
  const UniqueFd fd(::open(kFile, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), &value, 1) == 1;
}

}  // namespace

ExpeditedRcu::ExpeditedRcu(bool worth_it) {
  const UniqueFd fd(worth_it ? ::open(kFile, O_RDONLY | O_CLOEXEC) : -1);
  char now = '1';
  if (fd && ::read(fd.get(), &now, 1) == 1 && now == '0') {
    changed_ = write_flag('1');
  }
}

ExpeditedRcu::~ExpeditedRcu() {
  if (changed_) {
    write_flag('0');
  }
}

}  // namespace metatap::sys
