// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

namespace metatap::proxy {

/// Of a guest's connection: whoever asked has gone, or says nothing more and may have.
[[nodiscard]] inline bool hung_up(int fd) {
  pollfd asked{fd, POLLRDHUP, 0};
  return ::poll(&asked, 1, 0) != 0;
}

}  // namespace metatap::proxy
