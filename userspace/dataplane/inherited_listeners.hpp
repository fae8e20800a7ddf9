// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "metatap/address.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::dataplane {

/// Listening sockets of the process before us, on which connections wait: kept by the service
/// manager, or by the worker that serves on. Which is which the kernel says, by the namespace they
/// are in and the address they are bound to; who hands over another socket has handed over nothing.
/// Control thread, or one that it waits for.
class InheritedListeners {
 public:
  /// Keeps it if it is a TCP socket that listens on the metadata port. Twice the same is once.
  void add(UniqueFd socket);

  [[nodiscard]] bool empty() const { return all_.empty(); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }
  /// Is there one in that namespace (namespace_cookie())?
  [[nodiscard]] bool any_in(std::uint64_t cookie) const;
  /// One that listens there, on the device of that ifindex if it is not 0. Empty: none.
  [[nodiscard]] UniqueFd take(std::uint64_t cookie, const Address& address, unsigned ifindex = 0);
  /// Those that nobody took: whoever holds one, nobody can connect to it any more.
  void end_all();
  void end_in(std::uint64_t cookie);

 private:
  struct Listener {
    UniqueFd fd;
    std::uint64_t socket = 0, cookie = 0;  ///< the kernel's numbers of it and of its namespace
    Address address;
    unsigned ifindex = 0;
  };
  void end(const std::function<bool(const Listener&)>& which);
  std::vector<Listener> all_;
};

}  // namespace metatap::dataplane
