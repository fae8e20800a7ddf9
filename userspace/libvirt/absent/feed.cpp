// SPDX-License-Identifier: Apache-2.0
// In the place of feed.cpp where libvirt was not there when this was built.
#include "libvirt/feed.hpp"

namespace metatap::libvirt {

class LibvirtFeed::Impl {};

LibvirtFeed::LibvirtFeed(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
LibvirtFeed::~LibvirtFeed() = default;

Result<std::unique_ptr<LibvirtFeed>> LibvirtFeed::start(boost::asio::any_io_executor,
                                                        LibvirtOptions, const Inventory&, Publish) {
  return fail(ErrorCode::unsupported,
              "[inventory] source = libvirt: this metatapd was built without libvirt");
}

LibvirtFeed::Health LibvirtFeed::health() const {
  return {};
}
void LibvirtFeed::look_again() {}

}  // namespace metatap::libvirt
