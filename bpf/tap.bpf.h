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
#include "lib/arp.h"
#include "lib/count.h"
#include "lib/gate.h"
#include "lib/hops.h"
#include "lib/limit.h"
#include "lib/nd.h"
#include "lib/packet.h"
#include "lib/parse.h"
#include "lib/verdict.h"
#include "lib/who.h"

/* Into the namespace: untagged, marked, addressed to this host whatever MAC the guest chose. */
static __always_inline int deliver(struct __sk_buff *skb, __u32 slot, const struct mt_config *cfg)
{
	skb->mark = slot;
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	return bpf_redirect_peer(cfg->veth_ifindex, 0);
}

/* Without its VLAN tag. False when the kernel refuses. */
static __always_inline bool untag(struct __sk_buff *skb, __u16 vlan, bool tag_in_band,
				  struct mt_packet *packet)
{
	if (!vlan && !tag_in_band)
		return true;
	if (bpf_skb_vlan_pop(skb))
		return false;
	if (tag_in_band) {
		packet->l3 -= MT_VLAN_HLEN;
		packet->l4 -= MT_VLAN_HLEN;
		if (packet->inner)
			packet->inner -= MT_VLAN_HLEN;
	}
	return true;
}

/* The alias in place of the guest's address. False when the kernel refuses. */
static __always_inline bool rewrite_v4(struct __sk_buff *skb, const struct mt_packet *packet,
				       __be32 alias)
{
	__be32 source = packet->source.w[0], about = packet->about.w[0];

	if (packet->protocol == IPPROTO_TCP && packet->first &&
	    bpf_l4_csum_replace(skb, packet->l4 + __builtin_offsetof(struct tcphdr, check), source,
				alias, BPF_F_PSEUDO_HDR | sizeof(alias)))
		return false;
	if (bpf_l3_csum_replace(skb, packet->l3 + __builtin_offsetof(struct iphdr, check), source,
				alias, sizeof(alias)) ||
	    bpf_skb_store_bytes(skb, packet->l3 + __builtin_offsetof(struct iphdr, saddr), &alias,
				sizeof(alias), 0))
		return false;
	/* Address and checksum of the inner header cancel out in the ICMP checksum. */
	return !packet->inner ||
	       (!bpf_l3_csum_replace(skb, packet->inner + __builtin_offsetof(struct iphdr, check),
				     about, alias, sizeof(alias)) &&
		!bpf_skb_store_bytes(skb, packet->inner + __builtin_offsetof(struct iphdr, daddr),
				     &alias, sizeof(alias), 0));
}

/* The alias has the sum of what it replaces: no checksum to touch, inner or outer. */
static __always_inline bool rewrite_v6(struct __sk_buff *skb, const struct mt_packet *packet,
				       const struct mt_in6 *alias, __u32 value)
{
	struct mt_in6 about = packet->about;

	if (bpf_skb_store_bytes(skb, packet->l3 + __builtin_offsetof(struct ipv6hdr, saddr), alias,
				8, 0))
		return false;
	alias_v6(&about, value);
	return !packet->inner ||
	       !bpf_skb_store_bytes(skb, packet->inner + __builtin_offsetof(struct ipv6hdr, daddr),
				    &about, 8, 0);
}

/* The address as the namespace sees it. */
static __always_inline struct mt_in6 alias_of(const struct mt_in6 *address, __u32 value, bool v4)
{
	struct mt_in6 alias = *address;

	if (v4)
		alias.w[0] = alias_v4(value);
	else
		alias_v6(&alias, value);
	return alias;
}

/*
 * A connection is ours by its SYN, if somebody listens; what comes later follows its socket, save
 * where the port's policy leaves it no other path. MT_GO_ON, or a verdict.
 */
static __always_inline int ask_gate(struct __sk_buff *skb, const struct mt_config *cfg,
				    const struct mt_who *who, const struct mt_packet *packet,
				    const struct mt_in6 *alias, bool v4)
{
	if (!(cfg->flags & MT_CONFIG_GATE) || packet->protocol != IPPROTO_TCP || !packet->first)
		return MT_GO_ON;
	if (packet->syn) {
		if (!(cfg->flags & MT_CONFIG_AWAY) && has_listener(skb, cfg->nsid))
			return MT_GO_ON;
		has_connection(skb, cfg->nsid, alias, &packet->tcp, v4);
		return nobody_listens(skb, who);
	}
	if (who->row->flags & MT_SLOT_REFUSE_DOWN ||
	    has_connection(skb, cfg->nsid, alias, &packet->tcp, v4))
		return MT_GO_ON;
	return PASS(skb, who->slot, other_path);
}

/* Into the namespace, under the reason that names what was steered. */
static __always_inline int steer(struct __sk_buff *skb, __u32 slot, const struct mt_config *cfg,
				 const struct mt_packet *packet, bool v4, bool unknown,
				 bool forwarded)
{
	int verdict;

	count_steered(skb, slot, packet->syn);
	verdict = deliver(skb, slot, cfg);
	if (unknown)
		return STEER(skb, slot, steered_unknown, verdict);
	if (forwarded)
		return STEER(skb, slot, steered_forwarded, verdict);
	if (packet->inner)
		return STEER(skb, slot, steered_error, verdict);
	if (!packet->first)
		return STEER(skb, slot, steered_fragment, verdict);
	if (packet->echo)
		return STEER(skb, slot, steered_echo, verdict);
	return v4 ? STEER(skb, slot, steered_v4, verdict) : STEER(skb, slot, steered_v6, verdict);
}

/*
 * A packet to the metadata address. v4 and v6 differ in their headers; the way is one. What a
 * function that is not inlined gets a pointer to is initialised as a whole, here and elsewhere,
 * even if that function fills it: verifiers before 6.3 refuse a read of stack that may not have
 * been written, such as that of the TCP header of a packet without one.
 */
static __noinline int take(struct __sk_buff *skb, __u32 l3, __u16 vlan, bool tag_in_band, bool v4)
{
	const struct mt_config *cfg = config();
	struct mt_packet packet = {.l3 = l3};
	struct mt_who who = {};
	struct mt_in6 alias;
	enum mt_forwarding forwarded = MT_NOT_FORWARDED;
	int verdict, index;
	__u32 value;

	verdict = v4 ? parse_v4(skb, &packet) : parse_v6(skb, &packet);
	if (verdict != MT_GO_ON)
		return verdict;
	index = identify(skb, vlan, &packet.about, v4, packet.inner, &who);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	value = alias_value(who.slot, who.row->generation, index);
	alias = alias_of(&packet.source, value, v4);
	verdict = ask_gate(skb, cfg, &who, &packet, &alias, v4);
	if (verdict != MT_GO_ON)
		return verdict;
	if (packet.syn)
		forwarded = forwarding(packet.hops, who.row->flags);
	if (forwarded == MT_FORWARDED_REFUSED)
		return DROP(skb, who.slot, forwarded_inside);
	if (packet.syn && !within_syn_budget(who.slot, who.row, cfg))
		return DROP(skb, who.slot, syn_budget);
	if (!untag(skb, vlan, tag_in_band, &packet) ||
	    !(v4 ? rewrite_v4(skb, &packet, alias.w[0]) : rewrite_v6(skb, &packet, &alias, value)))
		return DROP(skb, who.slot, rewrite_failed);
	return steer(skb, who.slot, cfg, &packet, v4, who.row->flags & MT_SLOT_UNKNOWN,
		     forwarded == MT_FORWARDED);
}

/* Looks at the destination only; `l3` is a constant here, so that the loads are direct. */
static __always_inline int tap_by_destination(struct __sk_buff *skb, const __u32 l3,
					      __be16 protocol, __u16 vlan)
{
	const bool tag_in_band = l3 != ETH_HLEN;
	struct mt_in6 v6;
	int verdict;
	__be32 v4;

	if (protocol == bpf_htons(ETH_P_IP)) {
		if (load(skb, l3 + __builtin_offsetof(struct iphdr, daddr), &v4, sizeof(v4)) ||
		    v4 != MT_METADATA_V4)
			return PASS(skb, 0, not_metadata);
		return take(skb, l3, vlan, tag_in_band, true);
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (load(skb, l3 + __builtin_offsetof(struct ipv6hdr, daddr), &v6, sizeof(v6)) ||
		    (!is_metadata_v6(&v6) && !is_metadata_solicited_node(&v6)))
			return PASS(skb, 0, not_metadata);
		verdict = take(skb, l3, vlan, tag_in_band, false);
		return verdict == MT_SOLICITED ? answer_nd(skb, l3, vlan) : verdict;
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
