/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * mt_return, at TC ingress of the host end of the pair into the metadata namespace: gives answers
 * the guest's own address back and sends them to its tap. Nothing else leaves that namespace.
 */
#ifndef METATAP_RETURN_H
#define METATAP_RETURN_H

#include "lib/alias.h"
#include "lib/packet.h"
#include "lib/verdict.h"

static __always_inline struct mt_slot *guest_of(__u32 slot)
{
	struct mt_slot *row = bpf_map_lookup_elem(&mt_slots, &slot);

	if (!row || row->kind != MT_KIND_TAP || !row->ifindex || row->flags & MT_SLOT_DISABLED)
		return 0;
	return row;
}

/* Out of the tap: to the guest's MAC, with its VLAN tag. False when the kernel refuses. */
static __always_inline bool address_to(struct __sk_buff *skb, const struct mt_slot *row,
				       const __u8 *seen_mac)
{
	const struct mt_config *cfg = config();
	__u8 macs[2 * ETH_ALEN];

	if (!cfg)
		return false;
	/* A MAC is never all zero in its last bytes and its first. */
	if (*(__u32 *)seen_mac || *(__u16 *)(seen_mac + 4))
		__builtin_memcpy(macs, seen_mac, ETH_ALEN);
	else
		__builtin_memcpy(macs, row->mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, cfg->mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return false;
	return !row->vlan || !bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), row->vlan);
}

static __always_inline void count_answer(struct __sk_buff *skb, __u32 slot)
{
	struct mt_counter *counter = counter_of(slot);

	if (!counter)
		return;
	__sync_fetch_and_add(&counter->answers, 1);
	__sync_fetch_and_add(&counter->answer_bytes, skb->len);
}

static __always_inline int return_v4(struct __sk_buff *skb)
{
	const __u32 l3 = ETH_HLEN;
	struct iphdr ip, inner_ip;
	struct mt_icmp icmp;
	struct mt_slot *row;
	__be32 guest;
	__u32 slot, index, l4, inner = 0;
	bool first;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5)
		return DROP(skb, 0, return_malformed);
	if (ip.saddr != MT_METADATA_V4 || !is_alias_v4(ip.daddr) ||
	    (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_ICMP))
		return DROP(skb, 0, return_foreign);
	l4 = l3 + ip.ihl * 4;
	first = !(bpf_ntohs(ip.frag_off) & MT_IP_OFFSET);
	slot = alias_v4_slot(ip.daddr);
	index = alias_v4_index(ip.daddr) & (MT_V4_MAX - 1);
	row = guest_of(slot);
	if (!row)
		return DROP(skb, 0, return_stale);
	guest = row->v4[index];
	if (!guest)
		return DROP(skb, slot, return_stale);

	if (ip.protocol == IPPROTO_ICMP && first) {
		if (bpf_skb_load_bytes(skb, l4, &icmp, sizeof(icmp)))
			return DROP(skb, slot, return_malformed);
		if (icmp.type == ICMP_DEST_UNREACH || icmp.type == ICMP_TIME_EXCEEDED ||
		    icmp.type == ICMP_PARAMETERPROB) {
			inner = l4 + sizeof(icmp);
			if (bpf_skb_load_bytes(skb, inner, &inner_ip, sizeof(inner_ip)))
				return DROP(skb, slot, return_malformed);
			if (inner_ip.saddr != ip.daddr)
				return DROP(skb, slot, return_foreign);
			if (bpf_l3_csum_replace(skb,
						inner + __builtin_offsetof(struct iphdr, check),
						ip.daddr, guest, sizeof(guest)) ||
			    bpf_skb_store_bytes(skb,
						inner + __builtin_offsetof(struct iphdr, saddr),
						&guest, sizeof(guest), 0))
				return DROP(skb, slot, return_failed);
		}
	}
	if (ip.protocol == IPPROTO_TCP && first &&
	    bpf_l4_csum_replace(skb, l4 + __builtin_offsetof(struct tcphdr, check), ip.daddr, guest,
				BPF_F_PSEUDO_HDR | sizeof(guest)))
		return DROP(skb, slot, return_failed);
	if (bpf_l3_csum_replace(skb, l3 + __builtin_offsetof(struct iphdr, check), ip.daddr, guest,
				sizeof(guest)) ||
	    bpf_skb_store_bytes(skb, l3 + __builtin_offsetof(struct iphdr, daddr), &guest,
				sizeof(guest), 0) ||
	    !address_to(skb, row, row->v4_mac[index]))
		return DROP(skb, slot, return_failed);
	count_answer(skb, slot);
	if (inner)
		return STEER(skb, slot, return_error, bpf_redirect(row->ifindex, 0));
	return STEER(skb, slot, return_v4, bpf_redirect(row->ifindex, 0));
}

/* The guest's prefix under an alias' index. False: it has none. */
static __always_inline bool prefix_of(const struct mt_slot *row, __u32 index, __be32 prefix[2])
{
	if (index == MT_LINK_LOCAL) {
		prefix[0] = bpf_htonl(0xfe800000U);
		prefix[1] = 0;
		return true;
	}
	if (index > MT_V6_MAX)
		return false;
	__builtin_memcpy(prefix, row->v6[(index - 1) & (MT_V6_MAX - 1)], 8);
	return prefix[0] || prefix[1];
}

static __always_inline int return_v6(struct __sk_buff *skb)
{
	const __u32 l3 = ETH_HLEN, l4 = ETH_HLEN + sizeof(struct ipv6hdr);
	struct {
		struct mt_icmp icmp;
		struct ipv6hdr ip;
	} error;
	struct ipv6hdr ip;
	struct mt_in6 source, alias, inner;
	struct mt_slot *row;
	__be32 prefix[2];
	__u32 value, slot, index;
	bool is_error = false;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
		return DROP(skb, 0, return_malformed);
	__builtin_memcpy(&source, &ip.saddr, sizeof(source));
	__builtin_memcpy(&alias, &ip.daddr, sizeof(alias));
	/* Our own answers carry no extension header but that of a fragment. */
	if (!is_metadata_v6(&source) || !is_alias_v6(&alias) ||
	    (ip.nexthdr != IPPROTO_TCP && ip.nexthdr != IPPROTO_ICMPV6 &&
	     ip.nexthdr != IPPROTO_FRAGMENT))
		return DROP(skb, 0, return_foreign);
	value = alias_v6_value(&alias);
	slot = value >> MT_ALIAS_V6_SHIFT;
	index = value & ((1U << MT_ALIAS_V6_SHIFT) - 1);
	row = guest_of(slot);
	if (!row)
		return DROP(skb, 0, return_stale);
	if (!prefix_of(row, index, prefix))
		return DROP(skb, slot, return_stale);

	if (ip.nexthdr == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, l4, &error.icmp, sizeof(error.icmp)))
			return DROP(skb, slot, return_malformed);
		is_error = error.icmp.type >= ICMPV6_DEST_UNREACH &&
			   error.icmp.type <= ICMPV6_PARAMPROB;
		if (is_error) {
			if (bpf_skb_load_bytes(skb, l4, &error, sizeof(error)))
				return DROP(skb, slot, return_malformed);
			__builtin_memcpy(&inner, &error.ip.saddr, sizeof(inner));
			if (inner.w[0] != alias.w[0] || inner.w[1] != alias.w[1])
				return DROP(skb, slot, return_foreign);
			if (bpf_skb_store_bytes(skb,
						l4 + sizeof(error.icmp) +
							__builtin_offsetof(struct ipv6hdr, saddr),
						prefix, sizeof(prefix), 0))
				return DROP(skb, slot, return_failed);
		}
	}
	if (bpf_skb_store_bytes(skb, l3 + __builtin_offsetof(struct ipv6hdr, daddr), prefix,
				sizeof(prefix), 0) ||
	    !address_to(skb, row, row->v6_mac[index]))
		return DROP(skb, slot, return_failed);
	count_answer(skb, slot);
	if (is_error)
		return STEER(skb, slot, return_error, bpf_redirect(row->ifindex, 0));
	return STEER(skb, slot, return_v6, bpf_redirect(row->ifindex, 0));
}

SEC("tc")
int mt_return(struct __sk_buff *skb)
{
	__be16 protocol;

	if (load(skb, __builtin_offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol)))
		return DROP(skb, 0, return_malformed);
	if (protocol == bpf_htons(ETH_P_IP))
		return return_v4(skb);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return return_v6(skb);
	return DROP(skb, 0, return_foreign);
}

#endif
