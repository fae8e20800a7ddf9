/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The daemon's own look at the way that guests' packets take through the metadata namespace: a SYN
 * from an alias that is nobody's goes in by the pair, and mt_return notes that its answer came out.
 */
#ifndef METATAP_PROBE_H
#define METATAP_PROBE_H

#include "lib/packet.h"
#include "lib/verdict.h"
#include "maps.h"

/* Port that the last answer went to, by family: IPv4, IPv6. Read by the daemon. */
__u16 mt_probe_answered[2];

/* Attached nowhere: the daemon runs it on a frame, which then enters the namespace. */
SEC("tc")
int mt_probe(struct __sk_buff *skb)
{
	const struct mt_config *cfg = config();

	return cfg ? bpf_clone_redirect(skb, cfg->veth_ifindex, 0) : -1;
}

/* In mt_return: an answer to an alias that is nobody's. `l4`: where its TCP header is. */
static __always_inline int answer_to_nobody(struct __sk_buff *skb, const struct mt_alias_key *alias,
					    __u32 l4)
{
	__be16 port;

	if (alias->slot != MT_PROBE_SLOT ||
	    bpf_skb_load_bytes(skb, l4 + __builtin_offsetof(struct tcphdr, dest), &port,
			       sizeof(port)))
		return DROP(skb, 0, return_stale);
	mt_probe_answered[alias->family == MT_FAMILY_V6] = bpf_ntohs(port);
	return STEER(skb, 0, self_probe, TC_ACT_SHOT);
}

#endif
