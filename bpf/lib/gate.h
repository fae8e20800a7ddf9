/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The liveness gate: before a connection is taken the kernel is asked whether anybody listens.
 * No heartbeat, no delay: a killed daemon's sockets are gone at once.
 */
#ifndef METATAP_GATE_H
#define METATAP_GATE_H

#include "lib/packet.h"
#include "maps.h"

/* enum in net/tcp_states.h, not UAPI */
#define MT_TCP_FIN_WAIT1 4
#define MT_TCP_FIN_WAIT2 5
#define MT_TCP_TIME_WAIT 6
#define MT_TCP_CLOSE	 7
#define MT_TCP_LAST_ACK	 9
#define MT_TCP_LISTEN	 10
#define MT_TCP_CLOSING	 11

/*
 * Is the socket what is left of a connection that our side has closed, or that ended with its
 * process? Its last segments are ours while a new connection would be; and without a listener, too,
 * so that the guest's side ends in order, until the guest has opened another one from the same
 * port, which its SYN took elsewhere.
 */
static __always_inline bool is_closing(__u32 state)
{
	const __u32 closing = 1 << MT_TCP_FIN_WAIT1 | 1 << MT_TCP_FIN_WAIT2 |
			      1 << MT_TCP_TIME_WAIT | 1 << MT_TCP_CLOSE | 1 << MT_TCP_LAST_ACK |
			      1 << MT_TCP_CLOSING;

	return state < 32 && closing & 1 << state;
}

/* Did the guest's connection, as in `tuple`, go another way? `now`: it does with this SYN. */
static __noinline int went_elsewhere(struct __sk_buff *skb, const struct bpf_sock_tuple *tuple,
				     __u32 size, bool now)
{
	struct mt_flow flow = {.ifindex = skb->ifindex};
	__u64 when;

	if (!tuple)
		return 0;
	if (size == sizeof(tuple->ipv4)) {
		flow.port = tuple->ipv4.sport;
		__builtin_memcpy(flow.address, &tuple->ipv4.saddr, sizeof(tuple->ipv4.saddr));
	} else {
		flow.port = tuple->ipv6.sport;
		__builtin_memcpy(flow.address, tuple->ipv6.saddr, sizeof(tuple->ipv6.saddr));
	}
	if (!now)
		return !!bpf_map_lookup_elem(&mt_elsewhere, &flow);
	when = bpf_ktime_get_ns();
	return !bpf_map_update_elem(&mt_elsewhere, &flow, &when, BPF_ANY);
}

/*
 * Is the metadata address listened on in the namespace `nsid`? Asked for v4 whatever the packet:
 * one process opens both listeners. Source 0 matches no connection, only a listener.
 */
static __noinline int has_listener(struct __sk_buff *skb, __s32 nsid)
{
	struct bpf_sock_tuple tuple = {
		.ipv4.daddr = MT_METADATA_V4,
		.ipv4.dport = bpf_htons(MT_METADATA_PORT),
	};
	struct bpf_sock *sk;

	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), (__u64)(__s64)nsid, 0);
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/*
 * Does a segment belong to a connection of the namespace? A connection, or the ACK of a SYN
 * cookie; a listener alone does not make one. The tuple is alias and metadata address, as the
 * namespace sees them. A SYN is asked about when nobody listens: it goes elsewhere.
 */
static __noinline int has_connection_v4(struct __sk_buff *skb, __s32 nsid, __be32 alias,
					const struct tcphdr *tcp)
{
	struct bpf_sock_tuple tuple = {
		.ipv4.saddr = alias,
		.ipv4.daddr = MT_METADATA_V4,
		.ipv4.dport = bpf_htons(MT_METADATA_PORT),
	};
	struct iphdr ip = {.version = 4, .ihl = 5, .saddr = alias, .daddr = MT_METADATA_V4};
	struct bpf_sock *sk;
	int found = 1;
	__u32 state;

	if (!tcp)
		return 0;
	tuple.ipv4.sport = tcp->source;
	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), (__u64)(__s64)nsid, 0);
	if (!sk)
		return 0;
	state = sk->state;
	if (state == MT_TCP_LISTEN)
		found = bpf_tcp_check_syncookie(sk, &ip, sizeof(ip), (void *)tcp, sizeof(*tcp)) ==
			0;
	bpf_sk_release(sk);
	if (is_closing(state) && !has_listener(skb, nsid))
		found = !went_elsewhere(skb, &tuple, sizeof(tuple.ipv4), tcp->syn && !tcp->ack);
	return found;
}

static __noinline int has_connection_v6(struct __sk_buff *skb, __s32 nsid,
					const struct mt_in6 *alias, const struct tcphdr *tcp)
{
	struct bpf_sock_tuple tuple = {
		.ipv6.dport = bpf_htons(MT_METADATA_PORT),
	};
	struct ipv6hdr ip = {
		.version = 6,
		.nexthdr = IPPROTO_TCP,
	};
	struct mt_in6 metadata = {
		.w = {bpf_htonl(0xfe800000U), 0, 0, bpf_htonl(0xa9fea9feU)},
	};
	struct bpf_sock *sk;
	int found = 1;
	__u32 state;

	if (!tcp || !alias)
		return 0;
	__builtin_memcpy(tuple.ipv6.saddr, alias, sizeof(*alias));
	__builtin_memcpy(tuple.ipv6.daddr, &metadata, sizeof(metadata));
	__builtin_memcpy(&ip.saddr, alias, sizeof(*alias));
	__builtin_memcpy(&ip.daddr, &metadata, sizeof(metadata));
	tuple.ipv6.sport = tcp->source;
	sk = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), (__u64)(__s64)nsid, 0);
	if (!sk)
		return 0;
	state = sk->state;
	if (state == MT_TCP_LISTEN)
		found = bpf_tcp_check_syncookie(sk, &ip, sizeof(ip), (void *)tcp, sizeof(*tcp)) ==
			0;
	bpf_sk_release(sk);
	if (is_closing(state) && !has_listener(skb, nsid))
		found = !went_elsewhere(skb, &tuple, sizeof(tuple.ipv6), tcp->syn && !tcp->ack);
	return found;
}

#endif
