// SPDX-License-Identifier: Apache-2.0
#include "sys/change_monitor.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace metatap::sys {

Result<ChangeMonitor> ChangeMonitor::open() {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) {
    return fail_errno(errno, "open rtnetlink");
  }
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  local.nl_groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                    RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local)) != 0) {
    return fail_errno(errno, "subscribe to changes of a namespace");
  }
  for (const int group : {RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF}) {
    // Only some settings are told of anyway: who wants to know them all looks now and then.
    (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group));
  }
  return ChangeMonitor(std::move(fd));
}

void ChangeMonitor::drain() {
  std::array<char, 8192> buffer;
  while (::recv(fd_.get(), buffer.data(), buffer.size(), 0) >= 0 || errno == EINTR ||
         errno == ENOBUFS) {
  }
}

}  // namespace metatap::sys
