/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Did a guest send this itself? A packet that somebody routed has a TTL or hop limit that no
 * operating system starts with: a container or a nested guest behind NAT, an open proxy's host.
 */
#ifndef METATAP_HOPS_H
#define METATAP_HOPS_H

#include <stdbool.h>

#include "maps.h"

/* What systems start with, a bit each: 64, 128, 255. The daemon writes its own before it loads. */
const volatile __u64 mt_first_hops[4] = {0, 1ULL << (64 - 64), 1ULL << (128 - 128),
					 1ULL << (255 - 192)};

enum mt_forwarding {
	MT_NOT_FORWARDED, /* or it may be, and is not counted apart */
	MT_FORWARDED,
	MT_FORWARDED_REFUSED,
};

/* Of the first packet of a connection. */
static __always_inline enum mt_forwarding forwarding(__u8 hops, __u32 flags)
{
	if (mt_first_hops[hops >> 6] >> (hops & 63) & 1 || flags & MT_SLOT_ALLOW_FORWARDED)
		return MT_NOT_FORWARDED;
	return flags & MT_SLOT_REFUSE_FORWARDED ? MT_FORWARDED_REFUSED : MT_FORWARDED;
}

#endif
