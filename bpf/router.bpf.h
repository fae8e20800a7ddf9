/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Router mode: mt_router at ingress of a router's or DHCP namespace's device, mt_router_out at its
 * egress.
 *
 * A metadata packet gets the namespace's inner address as its destination, so that no rule of
 * Neutron's matches it, and continues into the stack of its own device, where the listener of the
 * one process is bound to that address. On the way out the source becomes the metadata address
 * again. Both pairs of addresses have the same 16-bit sum: checksums, partial or not, stay right.
 *
 * Which way a connection goes is decided by its SYN: with a listener it is ours, without one it is
 * left to whatever else serves the address. All that comes later follows the socket, unless that is
 * only what is left of an earlier connection from the same port.
 */
#ifndef METATAP_ROUTER_H
#define METATAP_ROUTER_H

#include <stddef.h>

#include "lib/count.h"
#include "lib/gate.h"
#include "lib/hops.h"
#include "lib/limit.h"
#include "lib/packet.h"
#include "lib/verdict.h"
#include "lib/who.h"
#include "maps.h"

#define ICMPV6_PACKET_TOO_BIG 2

/* Whose connection a packet is of. */
enum mt_owner {
	MT_OWNER_OTHER,	     /* no socket of ours */
	MT_OWNER_LISTENER,   /* new: it goes to the listener in `place` */
	MT_OWNER_CONNECTION, /* open, of `slot`, or half open and not yet known */
};

struct mt_found {
	__u32 owner; /* enum mt_owner */
	__u32 place;
	__u32 slot;
};

/* A segment as the listener's stack will see it. The tuple is the v4 or the v6 one. */
struct mt_segment {
	struct bpf_sock_tuple tuple;
	union mt_ip_header ip;
	struct tcphdr tcp;
};

static __always_inline struct mt_in6 inner_v6(void)
{
	struct mt_in6 inner = {
		.w = {bpf_htonl(MT_INNER_V6_0), bpf_htonl(MT_INNER_V6_1), bpf_htonl(MT_INNER_V6_2),
		      bpf_htonl(MT_INNER_V6_3)},
	};

	return inner;
}

static __always_inline bool same_v6(const struct mt_in6 *a, const struct mt_in6 *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
}

/*
 * The place whose listener of ours `tuple` leads to, whatever its source: source 0 matches no
 * connection, so that what is left of an old one does not answer. 0: there is none.
 */
static __noinline __u32 listening_place(struct __sk_buff *skb, const struct bpf_sock_tuple *tuple,
					__u32 size)
{
	struct bpf_sock_tuple any = {};
	struct mt_listener *listener;
	struct bpf_sock *sk, *full;
	__u32 place = 0;

	if (!tuple)
		return 0;
	if (size == sizeof(any.ipv4)) {
		any.ipv4.daddr = tuple->ipv4.daddr;
		any.ipv4.dport = tuple->ipv4.dport;
		sk = bpf_skc_lookup_tcp(skb, &any, sizeof(any.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(any.ipv6.daddr, tuple->ipv6.daddr, sizeof(any.ipv6.daddr));
		any.ipv6.dport = tuple->ipv6.dport;
		sk = bpf_skc_lookup_tcp(skb, &any, sizeof(any.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	full = bpf_sk_fullsock(sk);
	if (full && sk->state == MT_TCP_LISTEN) {
		listener = bpf_sk_storage_get(&mt_listeners, full, 0, 0);
		place = listener ? listener->place : 0;
	}
	bpf_sk_release(sk);
	return place;
}

/*
 * Would the packet's device send a new connection to `place`, if that is one? A device that was
 * turned away before the listener goes would not.
 */
static __always_inline bool takes_new(const struct __sk_buff *skb, __u32 place)
{
	struct mt_device_key key = {.place = place, .ifindex = skb->ifindex};

	return place && bpf_map_lookup_elem(&mt_devices, &key);
}

/*
 * The socket that `tuple` leads to in the namespace of the packet's device. What is left of a
 * closed connection counts as one as lib/gate.h says.
 */
static __always_inline void find_owner(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				       __u32 size, struct mt_segment *cookie,
				       struct mt_found *found)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
	struct bpf_sock *full;
	bool valid = true;
	__u32 state;

	found->owner = MT_OWNER_OTHER;
	if (!sk)
		return;
	full = bpf_sk_fullsock(sk);
	state = sk->state;
	if (full)
		found->slot = full->mark & MT_TAG_MASK;
	if (state == MT_TCP_LISTEN)
		valid = cookie &&
			is_cookie_ack(sk, &cookie->ip, size == sizeof(tuple->ipv4), &cookie->tcp);
	bpf_sk_release(sk);
	if (!valid)
		return;
	found->owner = MT_OWNER_CONNECTION;
	if (state == MT_TCP_LISTEN) {
		found->place = listening_place(skb, tuple, size);
		found->owner = found->place ? MT_OWNER_LISTENER : MT_OWNER_OTHER;
	} else if (is_closing(state) && went_elsewhere(skb, tuple, size, false) &&
		   !takes_new(skb, listening_place(skb, tuple, size))) {
		found->owner = MT_OWNER_OTHER;
	}
}

/* A SYN that is not for us: what is left of an earlier connection from its port owns nothing now.
 */
static __always_inline void let_go(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
	__u32 state;

	if (!sk)
		return;
	state = sk->state;
	bpf_sk_release(sk);
	if (is_closing(state))
		went_elsewhere(skb, tuple, size, true);
}

/*
 * Whose segment is it? A SYN is the listener's or nobody's, and so is all that cannot say from
 * where it comes. Of the rest only the ACK of a SYN cookie may lead to the listener.
 */
static __always_inline void owner_of(struct __sk_buff *skb, struct mt_segment *segment, __u32 size,
				     bool syn, struct mt_found *found)
{
	if (!syn) {
		find_owner(skb, &segment->tuple, size, segment, found);
		return;
	}
	found->place = listening_place(skb, &segment->tuple, size);
	found->owner = found->place ? MT_OWNER_LISTENER : MT_OWNER_OTHER;
}

static __always_inline __u32 source_slot(__u32 device_slot, __u32 family, const void *address,
					 __u32 size)
{
	struct mt_source_key key = {.device_slot = device_slot, .family = family};
	__u32 *slot;

	__builtin_memcpy(key.address, address, size);
	slot = bpf_map_lookup_elem(&mt_sources, &key);
	return slot ? *slot : 0;
}

/* By address; by MAC where the guest makes its own v6 addresses, and always for link-local. */
static __always_inline __u32 source_slot_v6(struct __sk_buff *skb, __u32 device_slot,
					    const struct mt_in6 *source)
{
	__u8 mac[ETH_ALEN];
	__u32 slot = 0;

	if ((source->w[0] & bpf_htonl(0xffc00000U)) != bpf_htonl(0xfe800000U))
		slot = source_slot(device_slot, MT_FAMILY_V6, source, sizeof(*source));
	if (!slot && !load(skb, offsetof(struct ethhdr, h_source), mac, sizeof(mac)))
		slot = source_slot(device_slot, MT_FAMILY_MAC, mac, sizeof(mac));
	return slot;
}

/*
 * Who opens this connection, and may they? Sets the tag. 0, or the reason why not: a packet of an
 * unknown device is left alone, the others are refused. `*known` is false for a source that no
 * port has: the agent will answer 404, as it does behind Neutron's proxy. `*forwarded` is true for
 * a connection that the guest only forwarded.
 */
static __always_inline int admit(struct __sk_buff *skb, __u32 place,
				 const struct mt_segment *segment, bool v4, bool syn, __u32 *tag,
				 bool *known, bool *forwarded)
{
	struct mt_device_key key = {.place = place, .ifindex = skb->ifindex};
	const struct mt_config *cfg = config();
	struct mt_slot *device, *port;
	__u32 *device_slot, slot;
	enum mt_forwarding hops;

	device_slot = bpf_map_lookup_elem(&mt_devices, &key);
	if (!device_slot || !cfg)
		return MT_router_unknown_device;
	device = slot_row(*device_slot, MT_KIND_ROUTER_DEVICE);
	if (!device)
		return MT_router_unknown_device;
	*tag = *device_slot;
	if (device->flags & MT_SLOT_DISABLED)
		return MT_port_disabled;
	slot = v4 ? source_slot(*device_slot, MT_FAMILY_V4, &segment->ip.v4.saddr, 4)
		  : source_slot_v6(skb, *device_slot, (const void *)&segment->ip.v6.saddr);
	port = slot_row(slot, MT_KIND_ROUTER_PORT); /* 0 is nobody, so no port */
	*known = port;
	if (port)
		*tag = slot;
	else
		port = device;
	if (port->flags & MT_SLOT_DISABLED)
		return MT_port_disabled;
	if (syn) {
		hops = forwarding(v4 ? segment->ip.v4.ttl : segment->ip.v6.hop_limit, port->flags);
		if (hops == MT_FORWARDED_REFUSED)
			return MT_forwarded_inside;
		*forwarded = hops == MT_FORWARDED;
		if (!within_syn_budget(*tag, port, cfg))
			return MT_syn_budget;
	}
	skb->mark = *tag;
	return 0;
}

static __always_inline bool set_destination(struct __sk_buff *skb, bool v4)
{
	if (v4) {
		__be32 inner = bpf_htonl(MT_INNER_V4);

		return !bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &inner,
					    sizeof(inner), 0);
	} else {
		struct mt_in6 inner = inner_v6();

		return !bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &inner,
					    sizeof(inner), 0);
	}
}

/* A TCP segment to the metadata port, all of it in `segment`. */
static __always_inline int to_listener(struct __sk_buff *skb, struct mt_segment *segment, bool v4)
{
	const __u32 size = v4 ? sizeof(segment->tuple.ipv4) : sizeof(segment->tuple.ipv6);
	bool syn = segment->tcp.syn && !segment->tcp.ack;
	struct mt_found found = {};
	bool known = true, forwarded = false;
	__u32 slot = 0;
	int refused;

	owner_of(skb, segment, size, syn, &found);
	if (found.owner == MT_OWNER_OTHER && !syn)
		return PASS(skb, 0, other_path);
	if (found.owner == MT_OWNER_OTHER) {
		let_go(skb, &segment->tuple, size);
		return PASS(skb, 0, no_listener);
	}
	if (found.owner == MT_OWNER_CONNECTION) {
		slot = found.slot;
	} else {
		refused = admit(skb, found.place, segment, v4, syn, &slot, &known, &forwarded);
		if (refused == MT_router_unknown_device) {
			let_go(skb, &segment->tuple, size);
			return PASS(skb, 0, router_unknown_device);
		}
		if (refused == MT_port_disabled)
			return DROP(skb, slot, port_disabled);
		if (refused == MT_forwarded_inside)
			return DROP(skb, slot, forwarded_inside);
		if (refused)
			return DROP(skb, slot, syn_budget);
	}
	if (!set_destination(skb, v4))
		return DROP(skb, slot, rewrite_failed);
	if (slot)
		count_steered(skb, slot, syn);
	if (!known)
		return STEER(skb, slot, router_unknown_source, TC_ACT_UNSPEC);
	if (forwarded)
		return STEER(skb, slot, steered_forwarded, TC_ACT_UNSPEC);
	return v4 ? STEER(skb, slot, router_v4, TC_ACT_UNSPEC)
		  : STEER(skb, slot, router_v6, TC_ACT_UNSPEC);
}

/*
 * An ICMP error about a packet of ours: the outer destination and the inner source are both the
 * metadata address. Their sums do not change, so neither does ICMP's.
 */
static __always_inline int error_v4(struct __sk_buff *skb, __u32 at)
{
	struct {
		struct mt_icmp icmp;
		struct iphdr ip;
		__be16 source, dest;
	} error;
	struct bpf_sock_tuple tuple = {};
	struct mt_found found = {};
	__be32 inner = bpf_htonl(MT_INNER_V4);

	if (bpf_skb_load_bytes(skb, at, &error, sizeof(error)) ||
	    error.icmp.type != ICMP_DEST_UNREACH || error.ip.ihl != 5 ||
	    error.ip.protocol != IPPROTO_TCP || error.ip.saddr != MT_METADATA_V4 ||
	    error.source != bpf_htons(MT_METADATA_PORT))
		return PASS(skb, 0, other_protocol);
	tuple.ipv4.saddr = error.ip.daddr;
	tuple.ipv4.sport = error.dest;
	tuple.ipv4.daddr = inner;
	tuple.ipv4.dport = error.source;
	find_owner(skb, &tuple, sizeof(tuple.ipv4), 0, &found);
	if (found.owner != MT_OWNER_CONNECTION)
		return PASS(skb, 0, other_path);
	if (bpf_skb_store_bytes(skb, at + sizeof(error.icmp) + offsetof(struct iphdr, saddr),
				&inner, sizeof(inner), 0) ||
	    !set_destination(skb, true))
		return DROP(skb, found.slot, rewrite_failed);
	return STEER(skb, found.slot, router_error, TC_ACT_UNSPEC);
}

static __always_inline int error_v6(struct __sk_buff *skb, __u32 at)
{
	struct {
		struct mt_icmp icmp;
		struct ipv6hdr ip;
		__be16 source, dest;
	} error;
	struct bpf_sock_tuple tuple = {};
	struct mt_in6 inner = inner_v6();
	struct mt_found found = {};

	if (bpf_skb_load_bytes(skb, at, &error, sizeof(error)) ||
	    (error.icmp.type != ICMPV6_PACKET_TOO_BIG && error.icmp.type != ICMPV6_DEST_UNREACH) ||
	    error.ip.nexthdr != IPPROTO_TCP || !is_metadata_v6((const void *)&error.ip.saddr) ||
	    error.source != bpf_htons(MT_METADATA_PORT))
		return PASS(skb, 0, other_protocol);
	__builtin_memcpy(tuple.ipv6.saddr, &error.ip.daddr, sizeof(inner));
	__builtin_memcpy(tuple.ipv6.daddr, &inner, sizeof(inner));
	tuple.ipv6.sport = error.dest;
	tuple.ipv6.dport = error.source;
	find_owner(skb, &tuple, sizeof(tuple.ipv6), 0, &found);
	if (found.owner != MT_OWNER_CONNECTION)
		return PASS(skb, 0, other_path);
	if (bpf_skb_store_bytes(skb, at + sizeof(error.icmp) + offsetof(struct ipv6hdr, saddr),
				&inner, sizeof(inner), 0) ||
	    !set_destination(skb, false))
		return DROP(skb, found.slot, rewrite_failed);
	return STEER(skb, found.slot, router_error, TC_ACT_UNSPEC);
}

/* Not the first of its datagram: it cannot say whose it is and goes where new connections go. */
static __always_inline int fragment_v4(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {
		.ipv4.daddr = bpf_htonl(MT_INNER_V4),
		.ipv4.dport = bpf_htons(MT_METADATA_PORT),
	};

	if (!listening_place(skb, &tuple, sizeof(tuple.ipv4)))
		return PASS(skb, 0, other_path);
	if (!set_destination(skb, true))
		return DROP(skb, 0, rewrite_failed);
	return STEER(skb, 0, router_fragment, TC_ACT_UNSPEC);
}

static __always_inline int router_v4(struct __sk_buff *skb)
{
	struct mt_segment segment = {};
	struct iphdr *ip = &segment.ip.v4;
	__u32 at;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, ip, sizeof(*ip)) || ip->ihl < 5)
		return DROP(skb, 0, malformed);
	at = ETH_HLEN + ip->ihl * 4;
	if (ip->protocol == IPPROTO_ICMP && !(ip->frag_off & bpf_htons(MT_IP_OFFSET)))
		return error_v4(skb, at);
	if (ip->protocol != IPPROTO_TCP)
		return PASS(skb, 0, other_protocol);
	if (ip->frag_off & bpf_htons(MT_IP_OFFSET))
		return fragment_v4(skb);
	if (bpf_skb_load_bytes(skb, at, &segment.tcp, sizeof(segment.tcp)))
		return ip->frag_off & bpf_htons(MT_IP_MF) ? DROP(skb, 0, tiny_fragment)
							  : DROP(skb, 0, malformed);
	if (segment.tcp.dest != bpf_htons(MT_METADATA_PORT))
		return PASS(skb, 0, other_port);
	ip->daddr = bpf_htonl(MT_INNER_V4);
	segment.tuple.ipv4.saddr = ip->saddr;
	segment.tuple.ipv4.daddr = ip->daddr;
	segment.tuple.ipv4.sport = segment.tcp.source;
	segment.tuple.ipv4.dport = segment.tcp.dest;
	return to_listener(skb, &segment, true);
}

static __always_inline int router_v6(struct __sk_buff *skb)
{
	const __u32 at = ETH_HLEN + sizeof(struct ipv6hdr);
	struct mt_segment segment = {};
	struct ipv6hdr *ip = &segment.ip.v6;
	struct mt_in6 inner = inner_v6();

	if (bpf_skb_load_bytes(skb, ETH_HLEN, ip, sizeof(*ip)))
		return DROP(skb, 0, malformed);
	if (ip->nexthdr == IPPROTO_ICMPV6)
		return error_v6(skb, at);
	if (is_extension_header(ip->nexthdr))
		return PASS(skb, 0, router_other_headers);
	if (ip->nexthdr != IPPROTO_TCP)
		return PASS(skb, 0, other_protocol);
	if (bpf_skb_load_bytes(skb, at, &segment.tcp, sizeof(segment.tcp)))
		return DROP(skb, 0, malformed);
	if (segment.tcp.dest != bpf_htons(MT_METADATA_PORT))
		return PASS(skb, 0, other_port);
	__builtin_memcpy(&ip->daddr, &inner, sizeof(inner));
	__builtin_memcpy(segment.tuple.ipv6.saddr, &ip->saddr, sizeof(inner));
	__builtin_memcpy(segment.tuple.ipv6.daddr, &inner, sizeof(inner));
	segment.tuple.ipv6.sport = segment.tcp.source;
	segment.tuple.ipv6.dport = segment.tcp.dest;
	return to_listener(skb, &segment, false);
}

SEC("tc")
int mt_router(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		__be32 address;

		if (!load(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &address, 4) &&
		    address == MT_METADATA_V4)
			return router_v4(skb);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct mt_in6 address;

		if (!load(skb, ETH_HLEN + offsetof(struct ipv6hdr, daddr), &address, 16) &&
		    is_metadata_v6(&address))
			return router_v6(skb);
	}
	return PASS(skb, 0, not_metadata);
}

static __always_inline __u32 answered(struct __sk_buff *skb)
{
	__u32 slot = skb->mark & MT_TAG_MASK;

	if (slot)
		count_answer(skb, slot);
	return slot;
}

SEC("tc")
int mt_router_out(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		const __u32 at = ETH_HLEN + offsetof(struct iphdr, saddr);
		__be32 metadata = MT_METADATA_V4, address;

		if (load(skb, at, &address, 4) || address != bpf_htonl(MT_INNER_V4))
			return PASS(skb, 0, not_metadata);
		if (bpf_skb_store_bytes(skb, at, &metadata, sizeof(metadata), 0))
			return DROP(skb, 0, return_failed);
		return STEER(skb, answered(skb), router_answer_v4, TC_ACT_UNSPEC);
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		const __u32 at = ETH_HLEN + offsetof(struct ipv6hdr, saddr);
		struct mt_in6 inner = inner_v6(), metadata = metadata_v6(), address;

		if (load(skb, at, &address, 16) || !same_v6(&address, &inner))
			return PASS(skb, 0, not_metadata);
		if (bpf_skb_store_bytes(skb, at, &metadata, sizeof(metadata), 0))
			return DROP(skb, 0, return_failed);
		return STEER(skb, answered(skb), router_answer_v6, TC_ACT_UNSPEC);
	}
	return PASS(skb, 0, not_metadata);
}

/*
 * On the listening sockets: a SYN that bears no tag did not come by mt_router, but from the
 * external side or from a guest that guessed the inner address. It gets no answer. The packet
 * begins with the TCP header here.
 */
SEC("socket")
int mt_tagged(struct __sk_buff *skb)
{
	const __u8 syn = 0x02;
	__u8 flags;

	if (bpf_skb_load_bytes(skb, 13, &flags, sizeof(flags)))
		return 0;
	if (!(flags & syn) || (skb->mark & MT_TAG_MASK) >= MT_TAG_LOWEST)
		return -1;
	count_reason(MT_router_untagged);
	return 0;
}

#endif
