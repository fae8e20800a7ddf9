/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A guest's address under a name that is unique on the host, and back (see abi.h). */
#ifndef METATAP_ALIAS_H
#define METATAP_ALIAS_H

#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "lib/packet.h"
#include "metatap/abi/abi.h"

static __always_inline __u32 alias_value(__u32 slot, __u32 generation, __u32 index)
{
	return (slot & MT_ALIAS_SLOT_MASK) << MT_ALIAS_SLOT_SHIFT |
	       (generation & MT_ALIAS_GENERATION_MASK) << MT_ALIAS_GENERATION_SHIFT |
	       (index & MT_ALIAS_INDEX_MASK);
}

/* What an alias' value says, as the key of mt_aliases. */
static __always_inline struct mt_alias_key alias_key(__u32 value, __u8 family)
{
	struct mt_alias_key key = {
		.slot = value >> MT_ALIAS_SLOT_SHIFT & MT_ALIAS_SLOT_MASK,
		.generation = value >> MT_ALIAS_GENERATION_SHIFT & MT_ALIAS_GENERATION_MASK,
		.family = family,
		.index = value & MT_ALIAS_INDEX_MASK,
	};

	return key;
}

static __always_inline __be32 alias_v4(__u32 value)
{
	return bpf_htonl(MT_ALIAS_V4 | value);
}

static __always_inline bool is_alias_v4(__be32 address)
{
	return (bpf_ntohl(address) & MT_ALIAS_V4_MASK) == MT_ALIAS_V4;
}

static __always_inline __u32 alias_v4_value(__be32 address)
{
	return bpf_ntohl(address) & ~MT_ALIAS_V4_MASK;
}

static __always_inline __u32 sum16(__u32 word)
{
	return (word >> 16) + (word & 0xffff);
}

/* Replaces the prefix; the interface id stays. The 16-bit sum of the words stays, too. */
static __always_inline void alias_v6(struct mt_in6 *address, __u32 value)
{
	/* What the fourth word must bring: old sum - new sum, in one's complement. */
	__u32 sum = sum16(bpf_ntohl(address->w[0])) + sum16(bpf_ntohl(address->w[1]));

	sum += (0xffffU - MT_ALIAS_V6) + (0xffffU - (value >> 16)) + (0xffffU - (value & 0xffff));
	sum = sum16(sum);
	sum = sum16(sum);
	address->w[0] = bpf_htonl(MT_ALIAS_V6 << 16 | value >> 16);
	address->w[1] = bpf_htonl(value << 16 | sum);
}

static __always_inline bool is_alias_v6(const struct mt_in6 *address)
{
	return bpf_ntohl(address->w[0]) >> 16 == MT_ALIAS_V6;
}

static __always_inline __u32 alias_v6_value(const struct mt_in6 *address)
{
	return bpf_ntohl(address->w[0]) << 16 | bpf_ntohl(address->w[1]) >> 16;
}

#endif
