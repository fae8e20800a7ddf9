// SPDX-License-Identifier: Apache-2.0
#include "dataplane/place_monitor.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {

Result<NameMonitor> NameMonitor::open() {
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) {
    return fail_errno(errno, "watch for namespaces");
  }
  const std::string directory(sys::kNamedNamespaces);
  // The first `ip netns add` on a host makes it; so may we.
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return fail_errno(errno, "create " + directory);
  }
  if (::inotify_add_watch(fd.get(), directory.c_str(),
                          IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR) < 0) {
    return fail_errno(errno, "watch " + directory);
  }
  return NameMonitor(std::move(fd));
}

NameMonitor::Batch NameMonitor::read() {
  Batch batch;
  alignas(inotify_event) std::array<char, 16384> buffer{};
  for (;;) {
    const auto size = ::read(fd_.get(), buffer.data(), buffer.size());
    if (size <= 0) {
      return batch;
    }
    for (ssize_t at = 0; at < size;) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      if ((event.mask & (IN_Q_OVERFLOW | IN_IGNORED)) != 0) {
        batch.lost = true;
      } else if (event.len > 0) {
        batch.events.push_back({std::string(buffer.data() + at + sizeof(event)),
                                (event.mask & (IN_DELETE | IN_MOVED_FROM)) != 0});
      }
      at += static_cast<ssize_t>(sizeof(event) + event.len);
    }
  }
}

Result<DeviceMonitor> DeviceMonitor::open(bool filters) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) {
    return fail_errno(errno, "open rtnetlink");
  }
  const int on = 1;
  const int room = 8 << 20;  // a thousand routers coming up at once
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
  if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) != 0) {
    return fail_errno(errno, "listen to the devices of all namespaces (CAP_NET_BROADCAST)");
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | (filters ? RTMGRP_TC : 0U);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "subscribe to device changes");
  }
  return DeviceMonitor(std::move(fd));
}

DeviceMonitor::Batch DeviceMonitor::read() {
  Batch batch;
  alignas(nlmsghdr) std::array<char, 65536> buffer{};
  alignas(cmsghdr) std::array<char, 256> control{};
  for (;;) {
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto size = ::recvmsg(fd_.get(), &message, 0);
    if (size < 0) {
      if (errno == EINTR) {
        continue;
      }
      batch.lost = batch.lost || errno == ENOBUFS;
      return batch;
    }
    std::int32_t nsid = -1;
    for (auto* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr;
         part_of = CMSG_NXTHDR(&message, part_of)) {
      if (part_of->cmsg_level == SOL_NETLINK && part_of->cmsg_type == NETLINK_LISTEN_ALL_NSID) {
        std::memcpy(&nsid, CMSG_DATA(part_of), sizeof(nsid));
      }
    }
    for (std::size_t at = 0; at + sizeof(nlmsghdr) <= static_cast<std::size_t>(size);) {
      nlmsghdr header{};
      std::memcpy(&header, buffer.data() + at, sizeof(header));
      if (header.nlmsg_len < sizeof(header)) {
        break;
      }
      if ((header.nlmsg_type == RTM_NEWLINK || header.nlmsg_type == RTM_DELLINK) &&
          header.nlmsg_len >= NLMSG_LENGTH(sizeof(ifinfomsg))) {
        ifinfomsg info{};
        std::memcpy(&info, buffer.data() + at + NLMSG_HDRLEN, sizeof(info));
        batch.events.push_back(
            {nsid, static_cast<unsigned>(info.ifi_index), header.nlmsg_type == RTM_DELLINK});
      } else if (sys::is_filter_change(header.nlmsg_type) &&
                 header.nlmsg_len >= NLMSG_LENGTH(sizeof(tcmsg))) {
        tcmsg info{};
        std::memcpy(&info, buffer.data() + at + NLMSG_HDRLEN, sizeof(info));
        batch.events.push_back({nsid, static_cast<unsigned>(info.tcm_ifindex), false});
      }
      at += NLMSG_ALIGN(header.nlmsg_len);
    }
  }
}

}  // namespace metatap::dataplane
