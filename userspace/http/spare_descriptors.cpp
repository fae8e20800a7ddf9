// SPDX-License-Identifier: Apache-2.0
#include "http/spare_descriptors.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace metatap::http {

SpareDescriptors::SpareDescriptors(std::size_t count) : count_(count) {
  if (count == 0) {
    return;
  }
  nothing_ = UniqueFd(::open("/", O_PATH | O_CLOEXEC));
  for (std::size_t i = 0; i < count && nothing_; ++i) {
    if (UniqueFd copy(::fcntl(nothing_.get(), F_DUPFD_CLOEXEC, 0)); copy) {
      spare_.push_back(std::move(copy));
    }
  }
}

bool SpareDescriptors::release() {
  if (spare_.empty()) {
    return false;
  }
  spare_.pop_back();
  return true;
}

void SpareDescriptors::recover(UniqueFd fd) {
  if (fd && nothing_ && spare_.size() < count_ &&
      ::dup3(nothing_.get(), fd.get(), O_CLOEXEC) == fd.get()) {
    spare_.push_back(std::move(fd));
  }
}

}  // namespace metatap::http
