// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "libvirt/options.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap::libvirt {

/// Follows the running domains of a libvirt on this host: their start and end, interfaces that are
/// plugged in or out, their metadata, and the guests' directories; all by events. libvirt's event
/// loop has a thread of its own, where everything that may wait for libvirtd happens. A libvirtd
/// that goes, or answers a question with an error, is connected to anew, and what was known is
/// known on.
class LibvirtFeed {
 public:
  /// All guests there are, as a document of the inventory.
  using Publish = std::function<void(std::string document)>;

  struct Health {
    std::string uri;
    bool connected = false;
    std::string error = "no answer yet";  ///< why not; empty: it is
    std::size_t domains = 0, interfaces = 0;
    std::uint64_t connections = 0, events = 0;
    std::map<std::string, std::string> problems;  ///< by domain
    std::set<std::string> silent_on_openstack;    ///< domains @see GuestBook::Status
  };

  /// `publish` is called on `executor`, whose context outlives the feed; `former` is what was
  /// served before. ErrorCode::unsupported: a build without libvirt.
  static Result<std::unique_ptr<LibvirtFeed>> start(boost::asio::any_io_executor executor,
                                                    LibvirtOptions options, const Inventory& former,
                                                    Publish publish);
  /// Waits for the thread, but not for a libvirtd that does not answer: a thread in the midst of a
  /// question to such a one is left behind, with what it uses, and ends when its connection does
  /// (after 20 s at most) or with the process. Nothing is published any more.
  ~LibvirtFeed();
  LibvirtFeed(const LibvirtFeed&) = delete;
  LibvirtFeed& operator=(const LibvirtFeed&) = delete;

  /// Any thread.
  [[nodiscard]] Health health() const;
  /// Asks for all domains and reads the guests' directories again, whatever the events said: there
  /// is none for a live interface that moves to another bridge. Any thread.
  void look_again();

 private:
  class Impl;
  explicit LibvirtFeed(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap::libvirt
