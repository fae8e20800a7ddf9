/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * mt_return, at TC ingress of the host end of the pair into the metadata namespace: gives answers
 * the guest's own address back and sends them to its tap. Nothing else leaves that namespace.
 */
#ifndef METATAP_RETURN_H
#define METATAP_RETURN_H

#include "lib/alias.h"
#include "lib/count.h"
#include "lib/packet.h"
#include "lib/verdict.h"
#include "lib/who.h"
#include "maps.h"
#include "probe.bpf.h"

#define MT_PREFIX_LEN 8 /* of an IPv6 address, in bytes */

/* Null: the number is nobody's, or has another owner by now, or its device is gone. */
static __always_inline struct mt_slot *guest_of(const struct mt_alias_key *alias)
{
	__u32 slot = alias->slot;
	struct mt_slot *row = slot_row(slot, MT_KIND_TAP);

	if (!row || row->generation != alias->generation || !row->ifindex ||
	    row->flags & MT_SLOT_DISABLED || !bpf_map_lookup_elem(&mt_taps, &slot))
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
	if (has_mac(seen_mac))
		__builtin_memcpy(macs, seen_mac, ETH_ALEN);
	else
		__builtin_memcpy(macs, row->mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, cfg->mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return false;
	return !row->vlan || !bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), row->vlan);
}

/* Out of the tap; `error`: an ICMP error, whose reason is one for both families. */
static __always_inline int answer(struct __sk_buff *skb, __u32 slot, __u32 ifindex, bool error,
				  bool v4)
{
	int verdict;

	count_answer(skb, slot);
	verdict = bpf_redirect(ifindex, 0);
	if (error)
		return STEER(skb, slot, return_error, verdict);
	return v4 ? STEER(skb, slot, return_v4, verdict) : STEER(skb, slot, return_v6, verdict);
}

static __always_inline int return_v4(struct __sk_buff *skb)
{
	const __u32 l3 = ETH_HLEN;
	struct iphdr ip, inner_ip;
	struct mt_icmp icmp;
	struct mt_alias_key key;
	struct mt_alias *back;
	struct mt_slot *row;
	const __u8 *mac;
	__be32 guest;
	__u32 slot, l4, inner = 0;
	bool first;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.ihl < 5)
		return DROP(skb, 0, return_malformed);
	if (ip.saddr != MT_METADATA_V4 || !is_alias_v4(ip.daddr) ||
	    (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_ICMP))
		return DROP(skb, 0, return_foreign);
	l4 = l3 + ip.ihl * 4;
	first = !(bpf_ntohs(ip.frag_off) & MT_IP_OFFSET);
	key = alias_key(alias_v4_value(ip.daddr), MT_FAMILY_V4);
	slot = key.slot;
	row = guest_of(&key);
	if (!row)
		return answer_to_nobody(skb, &key, l4);
	guest = key.index ? 0 : row->first_v4;
	mac = row->mac;
	if (!guest) {
		back = bpf_map_lookup_elem(&mt_aliases, &key);
		if (!back)
			return DROP(skb, slot, return_stale);
		__builtin_memcpy(&guest, back->address, sizeof(guest));
		mac = back->mac;
	}

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
	    !address_to(skb, row, mac))
		return DROP(skb, slot, return_failed);
	return answer(skb, slot, row->ifindex, inner, true);
}

/* The interface id is in the alias itself; any is right for the port's link-local addresses. */
static __always_inline bool is_of(const struct mt_in6 *alias, const struct mt_in6 *guest,
				  __u32 index)
{
	return index == MT_LINK_LOCAL || (alias->w[2] == guest->w[2] && alias->w[3] == guest->w[3]);
}

static __always_inline int return_v6(struct __sk_buff *skb)
{
	const __u32 l3 = ETH_HLEN, l4 = ETH_HLEN + sizeof(struct ipv6hdr);
	struct {
		struct mt_icmp icmp;
		struct ipv6hdr ip;
	} error;
	struct ipv6hdr ip;
	struct mt_in6 source, alias, inner, guest;
	struct mt_alias_key key;
	struct mt_alias *back;
	struct mt_slot *row;
	__u32 slot;
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
	key = alias_key(alias_v6_value(&alias), MT_FAMILY_V6);
	slot = key.slot;
	row = guest_of(&key);
	if (!row)
		return answer_to_nobody(skb, &key, l4);
	back = bpf_map_lookup_elem(&mt_aliases, &key);
	if (!back)
		return DROP(skb, slot, return_stale);
	__builtin_memcpy(&guest, back->address, sizeof(guest));
	if (!is_of(&alias, &guest, key.index))
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
						guest.w, MT_PREFIX_LEN, 0))
				return DROP(skb, slot, return_failed);
		}
	}
	if (bpf_skb_store_bytes(skb, l3 + __builtin_offsetof(struct ipv6hdr, daddr), guest.w,
				MT_PREFIX_LEN, 0) ||
	    !address_to(skb, row, back->mac))
		return DROP(skb, slot, return_failed);
	return answer(skb, slot, row->ifindex, is_error, false);
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
