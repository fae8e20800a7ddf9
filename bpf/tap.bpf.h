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

/* A packet to the metadata address, as the rest needs it. */
struct mt_packet {
	__u32 l3, l4;
	__u32 inner; /* the packet that an ICMP error is about; 0: it is no error */
	__u8 protocol;
	bool first; /* fragment, or all of it */
	bool syn, echo;
	struct tcphdr tcp;    /* if it is TCP, and the first */
	struct mt_in6 source; /* v4: the first word */
	struct mt_in6 about;  /* which address of the port: its source, or an error's receiver */
};

/* Instead of a verdict. Neighbour solicitations are answered from mt_tap(): stack is scarce below.
 */
#define MT_GO_ON     0
#define MT_SOLICITED (-2)

/* Headers, and whether they are for us at all. */
static __noinline int parse_v4(struct __sk_buff *skb, struct mt_packet *packet)
{
	struct iphdr ip, reported;
	struct mt_icmp icmp;
	__u16 fragment;

	if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return DROP(skb, 0, malformed);
	packet->l4 = packet->l3 + ip.ihl * 4;
	packet->protocol = ip.protocol;
	packet->source.w[0] = ip.saddr;
	packet->about.w[0] = ip.saddr;
	fragment = bpf_ntohs(ip.frag_off);
	packet->first = !(fragment & MT_IP_OFFSET);
	if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_ICMP)
		return PASS(skb, 0, other_protocol);
	if (!packet->first)
		return MT_GO_ON;

	if (ip.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, packet->l4, &packet->tcp, sizeof(packet->tcp))) {
			if (fragment & MT_IP_MF)
				return DROP(skb, 0, tiny_fragment);
			return DROP(skb, 0, malformed);
		}
		if (packet->tcp.dest != bpf_htons(MT_METADATA_PORT))
			return PASS(skb, 0, other_port);
		packet->syn = packet->tcp.syn && !packet->tcp.ack;
		return MT_GO_ON;
	}
	if (bpf_skb_load_bytes(skb, packet->l4, &icmp, sizeof(icmp)))
		return DROP(skb, 0, malformed);
	packet->echo = icmp.type == ICMP_ECHO;
	if (packet->echo)
		return MT_GO_ON;
	if (icmp.type != ICMP_DEST_UNREACH && icmp.type != ICMP_TIME_EXCEEDED &&
	    icmp.type != ICMP_PARAMETERPROB)
		return PASS(skb, 0, other_protocol);
	packet->inner = packet->l4 + sizeof(icmp);
	if (bpf_skb_load_bytes(skb, packet->inner, &reported, sizeof(reported)) ||
	    reported.version != 4 || reported.ihl < 5)
		return DROP(skb, 0, malformed);
	if (reported.saddr != MT_METADATA_V4)
		return PASS(skb, 0, other_protocol);
	/* Whoever on the way reports it: it is about this address of the port. */
	packet->about.w[0] = reported.daddr;
	return MT_GO_ON;
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

static __noinline int tap_v4(struct __sk_buff *skb, __u32 l3, __u16 vlan, bool tag_in_band)
{
	const struct mt_config *cfg = config();
	struct mt_packet packet = {.l3 = l3};
	struct mt_who who = {};
	__be32 alias;
	int verdict, refused, index;

	verdict = parse_v4(skb, &packet);
	if (verdict != MT_GO_ON)
		return verdict;
	refused = who_is(skb, vlan, &who);
	if (refused)
		return refuse(skb, who.slot, refused);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	index = index_v4(&who, packet.about.w[0], packet.inner);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	alias = alias_v4(alias_value(who.slot, who.row->generation, index));

	if (cfg->flags & MT_CONFIG_GATE && packet.protocol == IPPROTO_TCP && packet.first) {
		if (packet.syn) {
			if (!has_listener(skb, cfg->nsid)) {
				has_connection_v4(skb, cfg->nsid, alias, &packet.tcp);
				return NOBODY_LISTENS(skb, who);
			}
		} else if (!(who.row->flags & MT_SLOT_REFUSE_DOWN) &&
			   !has_connection_v4(skb, cfg->nsid, alias, &packet.tcp)) {
			return PASS(skb, who.slot, other_path);
		}
	}
	if (packet.syn && !(who.row->flags & MT_SLOT_NO_BUDGET) &&
	    !within_syn_budget(who.slot, cfg))
		return DROP(skb, who.slot, syn_budget);

	if (!untag(skb, vlan, tag_in_band, &packet) || !rewrite_v4(skb, &packet, alias))
		return DROP(skb, who.slot, rewrite_failed);
	count_steered(skb, who.slot, packet.syn);
	if (packet.inner)
		return STEER(skb, who.slot, steered_error, deliver(skb, who.slot, cfg));
	if (!packet.first)
		return STEER(skb, who.slot, steered_fragment, deliver(skb, who.slot, cfg));
	if (packet.echo)
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
			return WHY(malformed);
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
	return is_extension_header(chain->next) ? WHY(ext_headers) : 0;
}

/* As parse_v4(). */
static __noinline int parse_v6(struct __sk_buff *skb, struct mt_packet *packet)
{
	struct mt_chain chain = {};
	struct ipv6hdr ip;
	struct mt_icmp icmp;
	int why;

	if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) || ip.version != 6)
		return DROP(skb, 0, malformed);
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	packet->about = packet->source;
	chain.l4 = packet->l3 + sizeof(ip);
	chain.next = ip.nexthdr;
	why = walk_extension_headers(skb, &chain);
	if (why)
		return refuse(skb, 0, why);
	packet->l4 = chain.l4;
	packet->protocol = chain.next;
	packet->first = !chain.later;

	if (chain.later) {
		/* Reassembled in the namespace, if what it belongs to was steered. */
		if (chain.next != IPPROTO_TCP && chain.next != IPPROTO_ICMPV6 &&
		    chain.next != IPPROTO_DSTOPTS)
			return PASS(skb, 0, other_protocol);
		return MT_GO_ON;
	}
	if (chain.next == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, chain.l4, &packet->tcp, sizeof(packet->tcp))) {
			if (chain.fragmented)
				return DROP(skb, 0, tiny_fragment);
			return DROP(skb, 0, malformed);
		}
		if (packet->tcp.dest != bpf_htons(MT_METADATA_PORT))
			return PASS(skb, 0, other_port);
		packet->syn = packet->tcp.syn && !packet->tcp.ack;
		return MT_GO_ON;
	}
	if (chain.next != IPPROTO_ICMPV6)
		return PASS(skb, 0, other_protocol);
	if (bpf_skb_load_bytes(skb, chain.l4, &icmp, sizeof(icmp)))
		return DROP(skb, 0, malformed);
	if (icmp.type == MT_ND_SOLICIT && !chain.fragmented) {
		/* What is behind extension headers is nobody's. */
		if (packet->l4 != packet->l3 + sizeof(ip))
			return DROP(skb, 0, malformed);
		return MT_SOLICITED;
	}
	packet->echo = icmp.type == ICMPV6_ECHO_REQUEST;
	if (packet->echo)
		return MT_GO_ON;
	if (icmp.type < ICMPV6_DEST_UNREACH || icmp.type > ICMPV6_PARAMPROB)
		return PASS(skb, 0, other_protocol);
	packet->inner = chain.l4 + sizeof(icmp);
	if (bpf_skb_load_bytes(skb, packet->inner, &ip, sizeof(ip)))
		return DROP(skb, 0, malformed);
	if (!is_metadata_v6((struct mt_in6 *)&ip.saddr))
		return PASS(skb, 0, other_protocol);
	__builtin_memcpy(&packet->about, &ip.daddr, sizeof(packet->about));
	return MT_GO_ON;
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

static __noinline int tap_v6(struct __sk_buff *skb, __u32 l3, __u16 vlan, bool tag_in_band)
{
	const struct mt_config *cfg = config();
	struct mt_packet packet = {.l3 = l3};
	struct mt_who who = {};
	struct mt_in6 alias;
	int verdict, refused, index;
	__u32 value;

	verdict = parse_v6(skb, &packet);
	if (verdict != MT_GO_ON)
		return verdict;
	refused = who_is(skb, vlan, &who);
	if (refused)
		return refuse(skb, who.slot, refused);
	if (!cfg || !who.row)
		return DROP(skb, 0, unknown_port);
	index = index_v6(&who, &packet.about, packet.inner);
	if (index < 0)
		return refuse(skb, who.slot, -index);
	value = alias_value(who.slot, who.row->generation, index);
	alias = packet.source;
	alias_v6(&alias, value);

	if (cfg->flags & MT_CONFIG_GATE && packet.protocol == IPPROTO_TCP && packet.first) {
		if (packet.syn) {
			if (!has_listener(skb, cfg->nsid)) {
				has_connection_v6(skb, cfg->nsid, &alias, &packet.tcp);
				return NOBODY_LISTENS(skb, who);
			}
		} else if (!(who.row->flags & MT_SLOT_REFUSE_DOWN) &&
			   !has_connection_v6(skb, cfg->nsid, &alias, &packet.tcp)) {
			return PASS(skb, who.slot, other_path);
		}
	}
	if (packet.syn && !(who.row->flags & MT_SLOT_NO_BUDGET) &&
	    !within_syn_budget(who.slot, cfg))
		return DROP(skb, who.slot, syn_budget);

	if (!untag(skb, vlan, tag_in_band, &packet) || !rewrite_v6(skb, &packet, &alias, value))
		return DROP(skb, who.slot, rewrite_failed);
	count_steered(skb, who.slot, packet.syn);
	if (packet.inner)
		return STEER(skb, who.slot, steered_error, deliver(skb, who.slot, cfg));
	if (!packet.first)
		return STEER(skb, who.slot, steered_fragment, deliver(skb, who.slot, cfg));
	if (packet.echo)
		return STEER(skb, who.slot, steered_echo, deliver(skb, who.slot, cfg));
	return STEER(skb, who.slot, steered_v6, deliver(skb, who.slot, cfg));
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
		return tap_v4(skb, l3, vlan, tag_in_band);
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		if (load(skb, l3 + __builtin_offsetof(struct ipv6hdr, daddr), &v6, sizeof(v6)) ||
		    (!is_metadata_v6(&v6) && !is_metadata_solicited_node(&v6)))
			return PASS(skb, 0, not_metadata);
		verdict = tap_v6(skb, l3, vlan, tag_in_band);
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
