/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Answers neighbour solicitations for fe80::a9fe:a9fe (RFC 4861, 7.2.4). */
#ifndef METATAP_ND_H
#define METATAP_ND_H

#include "lib/address.h"
#include "lib/gate.h"
#include "lib/packet.h"
#include "lib/verdict.h"

#define MT_ND_ADVERT		 136
#define MT_ND_TARGET_LLADDR	 2
#define MT_ND_SOLICITED_OVERRIDE bpf_htonl(0x60000000U)

struct mt_nd {
	__u8 type, code;
	__sum16 check;
	__be32 flags;
	struct mt_in6 target;
	__u8 option, option_len; /* in the answer */
	__u8 lladdr[ETH_ALEN];
};

_Static_assert(sizeof(struct mt_nd) == 32, "ND layout");

#define MT_ND_WITHOUT_OPTION 24

/* ICMPv6's checksum over pseudo header and body. */
static __always_inline __sum16 nd_checksum(struct mt_in6 *source, struct mt_in6 *destination,
					   struct mt_nd *nd)
{
	__be32 rest[2] = {bpf_htonl(sizeof(*nd)), bpf_htonl(IPPROTO_ICMPV6)};
	__s64 sum = 0;

	sum = bpf_csum_diff(0, 0, source->w, sizeof(*source), sum);
	sum = bpf_csum_diff(0, 0, destination->w, sizeof(*destination), sum);
	sum = bpf_csum_diff(0, 0, rest, sizeof(rest), sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)nd, sizeof(*nd), sum);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __noinline int answer_nd(struct __sk_buff *skb, __u32 l3, __u16 vlan)
{
	const __u32 l4 = l3 + sizeof(struct ipv6hdr);
	const struct mt_config *cfg = config();
	struct mt_who who = {};
	struct ethhdr eth;
	struct ipv6hdr ip;
	struct mt_in6 source;
	struct mt_nd nd;
	int index;

	if (bpf_skb_load_bytes(skb, l4, &nd, MT_ND_WITHOUT_OPTION) ||
	    bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) ||
	    bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return DROP(skb, 0, malformed);
	/* A solicitation that was forwarded is nobody's. */
	if (ip.hop_limit != 255 || nd.code)
		return DROP(skb, 0, malformed);
	__builtin_memcpy(&source, &ip.saddr, sizeof(source));
	if (!is_metadata_v6(&nd.target) || is_unspecified(&source) || is_metadata_v6(&source))
		return PASS(skb, 0, probe_own);
	index = identify(skb, vlan, &source, false, false, &who);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	if (cfg->flags & MT_CONFIG_GATE && !has_listener(skb, cfg->nsid))
		return nobody_listens(skb, &who);

	__builtin_memcpy(eth.h_dest, eth.h_source, ETH_ALEN);
	__builtin_memcpy(eth.h_source, cfg->mac, ETH_ALEN);
	__builtin_memcpy(&ip.saddr, &nd.target, sizeof(ip.saddr));
	__builtin_memcpy(&ip.daddr, &source, sizeof(ip.daddr));
	ip.payload_len = bpf_htons(sizeof(nd));
	nd.type = MT_ND_ADVERT;
	nd.check = 0;
	nd.flags = MT_ND_SOLICITED_OVERRIDE;
	nd.option = MT_ND_TARGET_LLADDR;
	nd.option_len = 1;
	__builtin_memcpy(nd.lladdr, cfg->mac, ETH_ALEN);
	nd.check = nd_checksum(&nd.target, &source, &nd);
	if (bpf_skb_change_tail(skb, l4 + sizeof(nd), 0) ||
	    bpf_skb_store_bytes(skb, 0, &eth, 2 * ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0) ||
	    bpf_skb_store_bytes(skb, l4, &nd, sizeof(nd), 0))
		return DROP(skb, who.slot, rewrite_failed);
	return STEER(skb, who.slot, nd_answered, bpf_redirect(skb->ifindex, 0));
}

#endif
