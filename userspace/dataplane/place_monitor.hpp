// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::dataplane {

/// Names that come and go under /run/netns (inotify). A namespace is mounted over its name a moment
/// after the name appears, so a name alone is a hint. Control thread; fd() is non-blocking.
class NameMonitor {
 public:
  static Result<NameMonitor> open();
  [[nodiscard]] int fd() const { return fd_.get(); }

  struct Batch {
    struct Event {
      std::string name;
      bool removed = false;
    };
    std::vector<Event> events;  ///< in order
    bool lost = false;          ///< look at everything
  };
  [[nodiscard]] Batch read();

 private:
  explicit NameMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

/// Devices that come, go or change in every namespace to which this one has given a number
/// (rtnetlink, NETLINK_LISTEN_ALL_NSID): one socket for a thousand routers. Needs
/// CAP_NET_BROADCAST. Control thread; fd() is non-blocking.
class DeviceMonitor {
 public:
  /// `filters`: a change of a device's qdiscs or filters is a change of the device.
  static Result<DeviceMonitor> open(bool filters = false);
  [[nodiscard]] int fd() const { return fd_.get(); }

  struct Batch {
    struct Event {
      std::int32_t nsid = -1;  ///< -1: our own namespace
      unsigned ifindex = 0;
      bool removed = false;
    };
    std::vector<Event> events;
    bool lost = false;
  };
  [[nodiscard]] Batch read();

 private:
  explicit DeviceMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace metatap::dataplane
