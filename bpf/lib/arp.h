/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Answers ARP requests for 169.254.169.254, so that a guest without a gateway reaches it. */
#ifndef METATAP_ARP_H
#define METATAP_ARP_H

#include "lib/address.h"
#include "lib/gate.h"
#include "lib/packet.h"
#include "lib/verdict.h"

struct mt_arp {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__u8 spa[4];
	__u8 tha[ETH_ALEN];
	__u8 tpa[4];
} __attribute__((packed));

#define MT_ARP_TPA 24

_Static_assert(__builtin_offsetof(struct mt_arp, tpa) == MT_ARP_TPA, "ARP layout");

static __noinline int answer_arp(struct __sk_buff *skb, __u32 l3, __u16 vlan)
{
	const struct mt_config *cfg = config();
	struct mt_who who = {};
	struct mt_arp arp;
	struct ethhdr eth;
	struct mt_in6 source = {};
	__be32 target;
	int index;

	if (bpf_skb_load_bytes(skb, l3, &arp, sizeof(arp)) ||
	    bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)))
		return DROP(skb, 0, malformed);
	__builtin_memcpy(&source, arp.spa, sizeof(arp.spa));
	__builtin_memcpy(&target, arp.tpa, sizeof(target));
	if (arp.op != bpf_htons(ARPOP_REQUEST) || arp.htype != bpf_htons(ARPHRD_ETHER) ||
	    arp.ptype != bpf_htons(ETH_P_IP) || !source.w[0] || source.w[0] == target)
		return PASS(skb, 0, probe_own);
	index = identify(skb, vlan, &source, true, false, &who);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	if (cfg->flags & MT_CONFIG_GATE && !has_listener(skb, cfg->nsid))
		return nobody_listens(skb, &who);

	__builtin_memcpy(eth.h_dest, eth.h_source, ETH_ALEN);
	__builtin_memcpy(eth.h_source, cfg->mac, ETH_ALEN);
	__builtin_memcpy(arp.tha, arp.sha, ETH_ALEN);
	__builtin_memcpy(arp.tpa, &source, sizeof(arp.tpa));
	__builtin_memcpy(arp.sha, cfg->mac, ETH_ALEN);
	__builtin_memcpy(arp.spa, &target, sizeof(target));
	arp.op = bpf_htons(ARPOP_REPLY);
	if (bpf_skb_store_bytes(skb, 0, &eth, 2 * ETH_ALEN, 0) ||
	    bpf_skb_store_bytes(skb, l3, &arp, sizeof(arp), 0))
		return DROP(skb, who.slot, rewrite_failed);
	return STEER(skb, who.slot, arp_answered, bpf_redirect(skb->ifindex, 0));
}

#endif
