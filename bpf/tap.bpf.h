/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * mt_tap, at TC ingress of a guest's tap: takes what is meant for the metadata service, makes sure
 * that it comes from the port, gives its source an alias and sends it into the metadata namespace.
 * Everything else continues untouched; that decision is one compare of the destination.
 */
#ifndef METATAP_TAP_H
#define METATAP_TAP_H

#include "lib/address.h"
#include "lib/alias.h"
#include "lib/gate.h"
#include "lib/limit.h"
#include "lib/packet.h"
#include "lib/verdict.h"

#define MT_EXT_HEADERS 8 /* that many in a row is more than anybody sends */

/* Whose packet is it? 0, or the reason why nobody's will have it. */
static __always_inline int who_is(struct __sk_buff *skb, __u16 vlan, struct mt_who *who)
{
	struct mt_port_key key = {.ifindex = skb->ifindex, .vlan = vlan};
	__u32 *slot = bpf_map_lookup_elem(&mt_ports, &key);

	if (!slot)
		return WHY(unknown_port);
	who->row = bpf_map_lookup_elem(&mt_slots, slot);
	if (!who->row || who->row->kind != MT_KIND_TAP)
		return WHY(unknown_port);
	who->slot = *slot;
	if (who->row->flags & MT_SLOT_DISABLED)
		return WHY(port_disabled);
	if (load(skb, __builtin_offsetof(struct ethhdr, h_source), who->mac, ETH_ALEN) ||
	    !is_own_mac(who))
		return WHY(wrong_mac);
	return 0;
}

/* Into the namespace: untagged, marked, addressed to this host whatever MAC the guest chose. */
static __always_inline int deliver(struct __sk_buff *skb, __u32 slot, const struct mt_config *cfg)
{
	skb->mark = slot;
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	return bpf_redirect_peer(cfg->veth_ifindex, 0);
}

static __always_inline void count_steered(struct __sk_buff *skb, __u32 slot, bool syn)
{
	struct mt_counter *counter = counter_of(slot);

	if (!counter)
		return;
	__sync_fetch_and_add(&counter->packets, 1);
	__sync_fetch_and_add(&counter->bytes, skb->len);
	if (syn)
		__sync_fetch_and_add(&counter->syns, 1);
}

/* Nobody listens: what the port's policy makes of it. */
#define NOBODY_LISTENS(skb, who)                                                                   \
	({                                                                                         \
		int __verdict;                                                                     \
		if ((who).row->flags & MT_SLOT_REFUSE_DOWN)                                        \
			__verdict = DROP(skb, (who).slot, refused_down);                           \
		else                                                                               \
			__verdict = PASS(skb, (who).slot, no_listener);                            \
		__verdict;                                                                         \
	})

static __noinline int tap_v4(struct __sk_buff *skb, __u32 l3, __u16 vlan, bool tag_in_band)
{
	const struct mt_config *cfg = config();
	struct mt_who who = {};
	struct iphdr ip, inner_ip;
	struct tcphdr tcp;
	struct mt_icmp icmp;
	__be32 source, alias, inner_alias = 0;
	__u32 l4, inner = 0;
	__u16 fragment;
	bool syn = false, first, error = false, echo = false;
	int index, refused;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return DROP(skb, 0, malformed);
	l4 = l3 + ip.ihl * 4;
	fragment = bpf_ntohs(ip.frag_off);
	first = !(fragment & MT_IP_OFFSET);
	source = ip.saddr;

	if (ip.protocol == IPPROTO_TCP) {
		if (first) {
			if (bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp))) {
				if (fragment & MT_IP_MF)
					return DROP(skb, 0, tiny_fragment);
				return DROP(skb, 0, malformed);
			}
			if (tcp.dest != bpf_htons(MT_METADATA_PORT))
				return PASS(skb, 0, other_port);
			syn = tcp.syn && !tcp.ack;
		}
	} else if (ip.protocol == IPPROTO_ICMP) {
		if (first) {
			if (bpf_skb_load_bytes(skb, l4, &icmp, sizeof(icmp)))
				return DROP(skb, 0, malformed);
			echo = icmp.type == ICMP_ECHO;
			error = icmp.type == ICMP_DEST_UNREACH || icmp.type == ICMP_TIME_EXCEEDED ||
				icmp.type == ICMP_PARAMETERPROB;
			if (!echo && !error)
				return PASS(skb, 0, other_protocol);
		}
		if (error) {
			inner = l4 + sizeof(icmp);
			if (bpf_skb_load_bytes(skb, inner, &inner_ip, sizeof(inner_ip)) ||
			    inner_ip.version != 4 || inner_ip.ihl < 5)
				return DROP(skb, 0, malformed);
			if (inner_ip.saddr != MT_METADATA_V4)
				return PASS(skb, 0, other_protocol);
			/* Whoever on the way reports it: it is about this address of the port. */
			source = inner_ip.daddr;
		}
	} else {
		return PASS(skb, 0, other_protocol);
	}

	refused = who_is(skb, vlan, &who);
	if (refused)
		return refuse(skb, who.slot, refused);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	index = index_v4(&who, source, error);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	alias = alias_v4(alias_value(who.slot, who.row->generation, index));

	if (cfg->flags & MT_CONFIG_GATE && ip.protocol == IPPROTO_TCP && first) {
		if (syn) {
			if (!has_listener(skb, cfg->nsid))
				return NOBODY_LISTENS(skb, who);
		} else if (!(who.row->flags & MT_SLOT_REFUSE_DOWN) &&
			   !has_connection_v4(skb, cfg->nsid, alias, &tcp)) {
			return PASS(skb, who.slot, other_path);
		}
	}
	if (syn && !(who.row->flags & MT_SLOT_NO_BUDGET) && !within_syn_budget(who.slot, cfg))
		return DROP(skb, who.slot, syn_budget);

	if (vlan || tag_in_band) {
		if (bpf_skb_vlan_pop(skb))
			return DROP(skb, who.slot, rewrite_failed);
		if (tag_in_band) {
			l4 -= MT_VLAN_HLEN;
			l3 -= MT_VLAN_HLEN;
			inner -= error ? MT_VLAN_HLEN : 0;
		}
	}
	if (ip.protocol == IPPROTO_TCP && first &&
	    bpf_l4_csum_replace(skb, l4 + __builtin_offsetof(struct tcphdr, check), ip.saddr, alias,
				BPF_F_PSEUDO_HDR | sizeof(alias)))
		return DROP(skb, who.slot, rewrite_failed);
	if (bpf_l3_csum_replace(skb, l3 + __builtin_offsetof(struct iphdr, check), ip.saddr, alias,
				sizeof(alias)) ||
	    bpf_skb_store_bytes(skb, l3 + __builtin_offsetof(struct iphdr, saddr), &alias,
				sizeof(alias), 0))
		return DROP(skb, who.slot, rewrite_failed);
	if (error) {
		/* Address and checksum of the inner header cancel out in the ICMP checksum. */
		inner_alias = alias;
		if (bpf_l3_csum_replace(skb, inner + __builtin_offsetof(struct iphdr, check),
					source, inner_alias, sizeof(inner_alias)) ||
		    bpf_skb_store_bytes(skb, inner + __builtin_offsetof(struct iphdr, daddr),
					&inner_alias, sizeof(inner_alias), 0))
			return DROP(skb, who.slot, rewrite_failed);
	}
	count_steered(skb, who.slot, syn);
	if (error)
		return STEER(skb, who.slot, steered_error, deliver(skb, who.slot, cfg));
	if (!first)
		return STEER(skb, who.slot, steered_fragment, deliver(skb, who.slot, cfg));
	if (echo)
		return STEER(skb, who.slot, steered_echo, deliver(skb, who.slot, cfg));
	return STEER(skb, who.slot, steered_v4, deliver(skb, who.slot, cfg));
}

#include "lib/arp.h"
#include "lib/nd.h"

/* Extension headers up to the L4 header. 0, or a reason to drop. */
struct mt_chain {
	__u32 l4;
	__u8 next;
	bool fragmented, later; /* a fragment header; not the first fragment */
};

static __always_inline int walk_extension_headers(struct __sk_buff *skb, struct mt_chain *chain)
{
	__u8 header[8];
	int i;

	for (i = 0; i < MT_EXT_HEADERS; i++) {
		if (!is_extension_header(chain->next))
			return 0;
		if (bpf_skb_load_bytes(skb, chain->l4, header, sizeof(header)))
			return MT_malformed;
		if (chain->next == IPPROTO_FRAGMENT) {
			chain->fragmented = true;
			chain->later = header[2] || header[3] & 0xf8;
			chain->l4 += 8;
		} else {
			chain->l4 += 8 + header[1] * 8;
		}
		chain->next = header[0];
		if (chain->later)
			return 0;
	}
	return is_extension_header(chain->next) ? MT_ext_headers : 0;
}

static __noinline int tap_v6(struct __sk_buff *skb, __u32 l3, __u16 vlan, bool tag_in_band)
{
	const struct mt_config *cfg = config();
	struct mt_chain chain = {};
	struct mt_who who = {};
	struct ipv6hdr ip;
	struct mt_in6 source, alias, reported;
	struct tcphdr tcp;
	struct {
		struct mt_icmp icmp;
		struct ipv6hdr ip;
	} error_header;
	bool syn = false, error = false, echo = false;
	__u32 inner = 0, value;
	int index, refused, reason;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) || ip.version != 6)
		return DROP(skb, 0, malformed);
	__builtin_memcpy(&source, &ip.saddr, sizeof(source));
	chain.l4 = l3 + sizeof(ip);
	chain.next = ip.nexthdr;
	reason = walk_extension_headers(skb, &chain);
	if (reason == MT_ext_headers)
		return DROP(skb, 0, ext_headers);
	if (reason)
		return DROP(skb, 0, malformed);

	if (chain.later) {
		/* Reassembled in the namespace, if what it belongs to was steered. */
		if (chain.next != IPPROTO_TCP && chain.next != IPPROTO_ICMPV6 &&
		    chain.next != IPPROTO_DSTOPTS)
			return PASS(skb, 0, other_protocol);
	} else if (chain.next == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, chain.l4, &tcp, sizeof(tcp))) {
			if (chain.fragmented)
				return DROP(skb, 0, tiny_fragment);
			return DROP(skb, 0, malformed);
		}
		if (tcp.dest != bpf_htons(MT_METADATA_PORT))
			return PASS(skb, 0, other_port);
		syn = tcp.syn && !tcp.ack;
	} else if (chain.next == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, chain.l4, &error_header.icmp,
				       sizeof(error_header.icmp)))
			return DROP(skb, 0, malformed);
		if (error_header.icmp.type == MT_ND_SOLICIT && !chain.fragmented)
			return answer_nd(skb, l3, chain.l4, vlan, &source);
		echo = error_header.icmp.type == ICMPV6_ECHO_REQUEST;
		error = error_header.icmp.type >= ICMPV6_DEST_UNREACH &&
			error_header.icmp.type <= ICMPV6_PARAMPROB;
		if (!echo && !error)
			return PASS(skb, 0, other_protocol);
		if (error) {
			if (bpf_skb_load_bytes(skb, chain.l4, &error_header, sizeof(error_header)))
				return DROP(skb, 0, malformed);
			if (!is_metadata_v6((struct mt_in6 *)&error_header.ip.saddr))
				return PASS(skb, 0, other_protocol);
			inner = chain.l4 + sizeof(error_header.icmp);
		}
	} else {
		return PASS(skb, 0, other_protocol);
	}

	refused = who_is(skb, vlan, &who);
	if (refused)
		return refuse(skb, who.slot, refused);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	if (error)
		__builtin_memcpy(&reported, &error_header.ip.daddr, sizeof(reported));
	else
		reported = source;
	index = index_v6(&who, &reported, error);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	value = alias_value(who.slot, who.row->generation, index);
	alias = source;
	alias_v6(&alias, value);

	if (cfg->flags & MT_CONFIG_GATE && chain.next == IPPROTO_TCP && !chain.later) {
		if (syn) {
			if (!has_listener(skb, cfg->nsid))
				return NOBODY_LISTENS(skb, who);
		} else if (!(who.row->flags & MT_SLOT_REFUSE_DOWN) &&
			   !has_connection_v6(skb, cfg->nsid, &alias, &tcp)) {
			return PASS(skb, who.slot, other_path);
		}
	}
	if (syn && !(who.row->flags & MT_SLOT_NO_BUDGET) && !within_syn_budget(who.slot, cfg))
		return DROP(skb, who.slot, syn_budget);

	if (vlan || tag_in_band) {
		if (bpf_skb_vlan_pop(skb))
			return DROP(skb, who.slot, rewrite_failed);
		if (tag_in_band) {
			l3 -= MT_VLAN_HLEN;
			inner -= error ? MT_VLAN_HLEN : 0;
		}
	}
	/* The alias has the sum of what it replaces: no checksum to touch, inner or outer. */
	if (bpf_skb_store_bytes(skb, l3 + __builtin_offsetof(struct ipv6hdr, saddr), &alias, 8, 0))
		return DROP(skb, who.slot, rewrite_failed);
	if (error) {
		alias_v6(&reported, value);
		if (bpf_skb_store_bytes(skb, inner + __builtin_offsetof(struct ipv6hdr, daddr),
					&reported, 8, 0))
			return DROP(skb, who.slot, rewrite_failed);
	}
	count_steered(skb, who.slot, syn);
	if (error)
		return STEER(skb, who.slot, steered_error, deliver(skb, who.slot, cfg));
	if (chain.later)
		return STEER(skb, who.slot, steered_fragment, deliver(skb, who.slot, cfg));
	if (echo)
		return STEER(skb, who.slot, steered_echo, deliver(skb, who.slot, cfg));
	return STEER(skb, who.slot, steered_v6, deliver(skb, who.slot, cfg));
}

/* Looks at the destination only; `l3` is a constant here, so that the loads are direct. */
static __always_inline int tap_by_destination(struct __sk_buff *skb, const __u32 l3,
					      __be16 protocol, __u16 vlan)
{
	const bool tag_in_band = l3 != ETH_HLEN;
	struct mt_in6 v6;
	__be32 v4;

	if (protocol == bpf_htons(ETH_P_IP)) {
		if (load(skb, l3 + __builtin_offsetof(struct iphdr, daddr), &v4, sizeof(v4)) ||
		    v4 != MT_METADATA_V4)
			return PASS(skb, 0, not_metadata);
		return tap_v4(skb, l3, vlan, tag_in_band);
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (load(skb, l3 + __builtin_offsetof(struct ipv6hdr, daddr), &v6, sizeof(v6)) ||
		    (!is_metadata_v6(&v6) && !is_metadata_solicited_node(&v6)))
			return PASS(skb, 0, not_metadata);
		return tap_v6(skb, l3, vlan, tag_in_band);
	}
	if (protocol == bpf_htons(ETH_P_ARP)) {
		if (load(skb, l3 + MT_ARP_TPA, &v4, sizeof(v4)) || v4 != MT_METADATA_V4)
			return PASS(skb, 0, not_metadata);
		return answer_arp(skb, l3, vlan);
	}
	return PASS(skb, 0, not_metadata);
}

SEC("tc")
int mt_tap(struct __sk_buff *skb)
{
	__u16 vlan = skb->vlan_present ? skb->vlan_tci & MT_VLAN_VID : 0;
	__be16 protocol, tag[2];

	if (load(skb, __builtin_offsetof(struct ethhdr, h_proto), &protocol, sizeof(protocol)))
		return PASS(skb, 0, not_metadata);
	if (protocol != bpf_htons(ETH_P_8021Q))
		return tap_by_destination(skb, ETH_HLEN, protocol, vlan);
	/* A tag still in the frame; under another tag it is not a port's. */
	if (skb->vlan_present || load(skb, ETH_HLEN, tag, sizeof(tag)))
		return PASS(skb, 0, not_metadata);
	return tap_by_destination(skb, ETH_HLEN + MT_VLAN_HLEN, tag[1],
				  bpf_ntohs(tag[0]) & MT_VLAN_VID);
}

#endif
