// SPDX-License-Identifier: Apache-2.0
#include "dataplane/leftovers.hpp"

#include "dataplane/tc_attachment.hpp"

namespace metatap::dataplane {

void remove_left_filters(const std::vector<sys::Link>& links) {
  for (const auto& link : links) {
    // The last one first: of two filters the first made the qdisc.
    remove_left_filters(link.index, TcSide::ingress);
    remove_left_filters(link.index, TcSide::egress);
  }
}

Status clear_place(PlaceJournal& journal) {
  const auto cookie = namespace_cookie();
  if (!cookie || journal.changes(*cookie).empty()) {
    return cookie ? Status() : tl::make_unexpected(cookie.error());
  }
  auto netlink = sys::Netlink::open();
  const auto links = netlink ? netlink->links() : tl::make_unexpected(netlink.error());
  if (!links) {
    return tl::make_unexpected(links.error());
  }
  remove_left_filters(*links);
  return journal.undo(*cookie, *netlink);
}

}  // namespace metatap::dataplane
