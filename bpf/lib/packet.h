/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Reading packets: offsets, constants, and a load that never gives up on a short linear part. */
#ifndef METATAP_PACKET_H
#define METATAP_PACKET_H

#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* From headers that drag in the C library. */
#define ARPHRD_ETHER	    1
#define ARPOP_REQUEST	    1
#define ARPOP_REPLY	    2
#define ICMP_DEST_UNREACH   3
#define ICMP_ECHO	    8
#define ICMP_TIME_EXCEEDED  11
#define ICMP_PARAMETERPROB  12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB    4
#define ICMPV6_ECHO_REQUEST 128
#define MT_ND_SOLICIT	    135

/* ICMP and ICMPv6 alike. */
struct mt_icmp {
	__u8 type, code;
	__sum16 check;
	__be32 rest;
};

#define MT_METADATA_V4 bpf_htonl(0xa9fea9feU) /* 169.254.169.254 */
#define MT_VLAN_HLEN   4
#define MT_VLAN_VID    0x0fff
#define MT_IP_OFFSET   0x1fff
#define MT_IP_MF       0x2000
#define MT_IP6_MF      0x0001
#define MT_IP6_OFFSET  0xfff8

/* An IPv6 address as words; network order. */
struct mt_in6 {
	__be32 w[4];
};

static __always_inline struct mt_in6 metadata_v6(void)
{
	struct mt_in6 metadata = {
		.w = {bpf_htonl(0xfe800000U), 0, 0, bpf_htonl(0xa9fea9feU)},
	};

	return metadata;
}

static __always_inline bool is_metadata_v6(const struct mt_in6 *a)
{
	return a->w[0] == bpf_htonl(0xfe800000U) && a->w[1] == 0 && a->w[2] == 0 &&
	       a->w[3] == bpf_htonl(0xa9fea9feU);
}

/* ff02::1:fffe:a9fe, where neighbour solicitations for fe80::a9fe:a9fe go. */
static __always_inline bool is_metadata_solicited_node(const struct mt_in6 *a)
{
	return a->w[0] == bpf_htonl(0xff020000U) && a->w[1] == 0 && a->w[2] == bpf_htonl(1) &&
	       a->w[3] == bpf_htonl(0xfffea9feU);
}

static __always_inline bool is_link_local(const struct mt_in6 *a)
{
	return a->w[0] == bpf_htonl(0xfe800000U) && a->w[1] == 0;
}

static __always_inline bool is_unspecified(const struct mt_in6 *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3]);
}

static __always_inline bool is_extension_header(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS;
}

/*
 * Copies packet bytes by direct access where they are linear, else by the helper.
 * `off` and `len` are compile-time constants: this is the fast path. 0 or negative errno.
 */
static __always_inline int load(const struct __sk_buff *skb, __u32 off, void *to, __u32 len)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;

	if (data + off + len <= end) {
		__builtin_memcpy(to, data + off, len);
		return 0;
	}
	return bpf_skb_load_bytes(skb, off, to, len);
}

#endif
