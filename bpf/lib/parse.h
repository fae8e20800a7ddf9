/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A guest's packet to the metadata address: its headers, and whether it is for us at all. */
#ifndef METATAP_PARSE_H
#define METATAP_PARSE_H

#include "lib/packet.h"
#include "lib/verdict.h"

#define MT_EXT_HEADERS 8 /* that many in a row is more than anybody sends */

/* A packet to the metadata address, as the rest needs it. */
struct mt_packet {
	__u32 l3, l4;
	__u32 inner; /* the packet that an ICMP error is about; 0: it is no error */
	__u8 protocol;
	__u8 hops;  /* TTL or hop limit */
	bool first; /* fragment, or all of it */
	bool syn, echo;
	struct tcphdr tcp;    /* if it is TCP, and the first */
	struct mt_in6 source; /* v4: the first word */
	struct mt_in6 about;  /* which address of the port: its source, or an error's receiver */
};

/* Instead of a verdict: a neighbour solicitation. mt_tap() answers it: stack is scarce below. */
#define MT_SOLICITED (-2)

/* The first of the TCP segment, or all of it. MT_GO_ON, or a verdict. */
static __always_inline int parse_tcp(struct __sk_buff *skb, struct mt_packet *packet,
				     bool fragmented)
{
	if (bpf_skb_load_bytes(skb, packet->l4, &packet->tcp, sizeof(packet->tcp))) {
		if (fragmented)
			return DROP(skb, 0, tiny_fragment);
		return DROP(skb, 0, malformed);
	}
	if (packet->tcp.dest != bpf_htons(MT_METADATA_PORT))
		return PASS(skb, 0, other_port);
	packet->syn = packet->tcp.syn && !packet->tcp.ack;
	return MT_GO_ON;
}

/* MT_GO_ON, or the verdict on a packet that is not for us. */
static __noinline int parse_v4(struct __sk_buff *skb, struct mt_packet *packet)
{
	struct iphdr ip, reported;
	struct mt_icmp icmp;
	__u16 fragment;

	if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return DROP(skb, 0, malformed);
	packet->l4 = packet->l3 + ip.ihl * 4;
	packet->protocol = ip.protocol;
	packet->hops = ip.ttl;
	packet->source.w[0] = ip.saddr;
	packet->about.w[0] = ip.saddr;
	fragment = bpf_ntohs(ip.frag_off);
	packet->first = !(fragment & MT_IP_OFFSET);
	if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_ICMP)
		return PASS(skb, 0, other_protocol);
	if (!packet->first)
		return MT_GO_ON;

	if (ip.protocol == IPPROTO_TCP)
		return parse_tcp(skb, packet, fragment & MT_IP_MF);
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

/* A chain of extension headers, as far as it has been walked. */
struct mt_chain {
	__u32 l4;
	__u8 next;
	bool fragmented, later; /* a fragment header; not the first fragment */
};

/* Up to the L4 header. 0, or a reason to drop. */
static __always_inline int walk_extension_headers(struct __sk_buff *skb, struct mt_chain *chain)
{
	__u8 header[8];
	int i;

	for (i = 0; i < MT_EXT_HEADERS; i++) {
		/* Clang 19 makes of the loop what verifiers before 6.8 refuse, but for this. */
		asm volatile("" : "+r"(i));
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
	bool group;
	int why;

	if (bpf_skb_load_bytes(skb, packet->l3, &ip, sizeof(ip)) || ip.version != 6)
		return DROP(skb, 0, malformed);
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	packet->about = packet->source;
	packet->hops = ip.hop_limit;
	chain.l4 = packet->l3 + sizeof(ip);
	chain.next = ip.nexthdr;
	why = walk_extension_headers(skb, &chain);
	if (why)
		return refuse(skb, 0, why);
	packet->l4 = chain.l4;
	packet->protocol = chain.next;
	packet->first = !chain.later;

	/* The group of the metadata address is there for solicitations, which come whole. */
	group = is_metadata_solicited_node((struct mt_in6 *)&ip.daddr);
	if (group && (chain.later || chain.next != IPPROTO_ICMPV6))
		return PASS(skb, 0, not_metadata);
	if (chain.later) {
		/* Reassembled in the namespace, if what it belongs to was steered. */
		if (chain.next != IPPROTO_TCP && chain.next != IPPROTO_ICMPV6 &&
		    chain.next != IPPROTO_DSTOPTS)
			return PASS(skb, 0, other_protocol);
		return MT_GO_ON;
	}
	if (chain.next == IPPROTO_TCP)
		return parse_tcp(skb, packet, chain.fragmented);
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
	if (group)
		return PASS(skb, 0, not_metadata);
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

#endif
