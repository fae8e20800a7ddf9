/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The liveness gate: before a connection is taken the kernel is asked whether anybody listens.
 * No heartbeat, no delay: a killed daemon's sockets are gone at once.
 */
#ifndef METATAP_GATE_H
#define METATAP_GATE_H

#include "lib/dry_run.h"
#include "lib/packet.h"
#include "lib/verdict.h"
#include "lib/who.h"
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
	if (dry_run || !now)
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

/* Nobody listens: what the port's policy makes of it. */
static __always_inline int nobody_listens(struct __sk_buff *skb, const struct mt_who *who)
{
	if (who->row->flags & MT_SLOT_REFUSE_DOWN)
		return DROP(skb, who->slot, refused_down);
	return PASS(skb, who->slot, no_listener);
}

/* For a SYN cookie, which is checked against the addresses and the TCP header. */
union mt_ip_header {
	struct iphdr v4;
	struct ipv6hdr v6;
};

/* Is the segment the ACK of a SYN cookie that this listener gave out? */
static __always_inline bool is_cookie_ack(struct bpf_sock *listener, union mt_ip_header *ip,
					  bool v4, const struct tcphdr *tcp)
{
	return !bpf_tcp_check_syncookie(listener, ip, v4 ? sizeof(ip->v4) : sizeof(ip->v6),
					(void *)tcp, sizeof(*tcp));
}

/*
 * Does a segment belong to a connection of the namespace? A connection, or the ACK of a SYN
 * cookie; a listener alone does not make one. From alias to metadata address, as the namespace
 * sees it. A SYN is asked about when nobody listens: it goes elsewhere.
 */
static __noinline int has_connection(struct __sk_buff *skb, __s32 nsid, const struct mt_in6 *alias,
				     const struct tcphdr *tcp, bool v4)
{
	struct mt_in6 metadata = metadata_v6();
	struct bpf_sock_tuple tuple = {};
	const __u32 size = v4 ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6);
	union mt_ip_header ip = {};
	struct bpf_sock *sk;
	int found = 1;
	__u32 state;

	if (!tcp || !alias)
		return 0;
	if (v4) {
		ip.v4.version = 4;
		ip.v4.ihl = 5;
		ip.v4.saddr = tuple.ipv4.saddr = alias->w[0];
		ip.v4.daddr = tuple.ipv4.daddr = MT_METADATA_V4;
		tuple.ipv4.sport = tcp->source;
		tuple.ipv4.dport = bpf_htons(MT_METADATA_PORT);
	} else {
		ip.v6.version = 6;
		ip.v6.nexthdr = IPPROTO_TCP;
		__builtin_memcpy(&ip.v6.saddr, alias, sizeof(*alias));
		__builtin_memcpy(&ip.v6.daddr, &metadata, sizeof(metadata));
		__builtin_memcpy(tuple.ipv6.saddr, alias, sizeof(*alias));
		__builtin_memcpy(tuple.ipv6.daddr, &metadata, sizeof(metadata));
		tuple.ipv6.sport = tcp->source;
		tuple.ipv6.dport = bpf_htons(MT_METADATA_PORT);
	}
	sk = bpf_skc_lookup_tcp(skb, &tuple, size, (__u64)(__s64)nsid, 0);
	if (!sk)
		return 0;
	state = sk->state;
	if (state == MT_TCP_LISTEN)
		found = is_cookie_ack(sk, &ip, v4, tcp);
	bpf_sk_release(sk);
	/* Hardly any went elsewhere, and to find that out costs less than to find the listener. */
	if (is_closing(state) && went_elsewhere(skb, &tuple, size, tcp->syn && !tcp->ack))
		found = has_listener(skb, nsid);
	return found;
}

#endif
