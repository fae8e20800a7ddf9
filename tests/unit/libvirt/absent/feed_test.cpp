// SPDX-License-Identifier: Apache-2.0
// What stands in for the feed in a build without libvirt.
#include "libvirt/feed.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

namespace metatap::libvirt {
namespace {

TEST(AbsentFeed, SaysInOneSentenceThatItIsNotInThisBuild) {
  boost::asio::io_context control;
  const auto feed = LibvirtFeed::start(control.get_executor(), {}, {}, [](const std::string&) {});
  ASSERT_FALSE(feed);
  EXPECT_EQ(feed.error().code, ErrorCode::unsupported);
  EXPECT_EQ(feed.error().message,
            "[inventory] source = libvirt: this metatapd was built without libvirt");
}

}  // namespace
}  // namespace metatap::libvirt
