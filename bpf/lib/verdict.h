/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The only ways out of a program: pass(), drop() and steer(), each with a reason that is counted
 * for the host and for the slot, and told to whoever looks on.
 *
 *	return PASS(skb, slot, other_port);
 *	return DROP(skb, slot, spoofed_v4);
 *	return STEER(skb, slot, steered_v4, bpf_redirect_peer(ifindex, 0));
 *
 * A reason of the wrong kind does not compile. slot 0: nobody's. A step that finds out why a packet
 * must be dropped returns WHY(reason), and who asked it leaves by refuse().
 */
#ifndef METATAP_VERDICT_H
#define METATAP_VERDICT_H

#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>

#include "lib/count.h"
#include "lib/dry_run.h"
#include "maps.h"

/* Instead of a verdict, from a step that found nothing against the packet. */
#define MT_GO_ON 0

enum {
#define MT_REASON(name, text, kind) MT_KIND_OF_##name = MT_##kind,
#include "metatap/abi/reasons.def"
#undef MT_REASON
};

/* Events that found no room in mt_events. */
__u64 mt_events_lost;

/* To whoever looks on (`metatap trace`), and drops by sample also to the daemon. */
static __always_inline void report(struct __sk_buff *skb, __u32 slot, __u32 reason)
{
	struct mt_event *event = bpf_ringbuf_reserve(&mt_events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&mt_events_lost, 1);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->slot = slot;
	event->reason = reason;
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	event->vlan = skb->vlan_present ? skb->vlan_tci & 0x0fff : 0;
	event->protocol = bpf_ntohs((__u16)skb->protocol);
	bpf_skb_load_bytes(skb, 6, event->source_mac, sizeof(event->source_mac));
	if (event->protocol == 0x0800) {
		bpf_skb_load_bytes(skb, 14 + 12, event->source, 4);
		bpf_skb_load_bytes(skb, 14 + 9, &event->l4_protocol, 1);
	} else if (event->protocol == 0x86dd) {
		bpf_skb_load_bytes(skb, 14 + 8, event->source, 16);
		bpf_skb_load_bytes(skb, 14 + 6, &event->l4_protocol, 1);
	} else if (event->protocol == 0x0806) {
		bpf_skb_load_bytes(skb, 14 + 14, event->source, 4);
	}
	bpf_ringbuf_submit(event, 0);
}

/*
 * All that a packet of a slot, or one that is dropped, leaves behind it. Not inlined: one copy for
 * all exits keeps the programs small.
 */
static __noinline int account(struct __sk_buff *skb, __u32 slot, __u32 reason, bool dropped)
{
	const struct mt_config *cfg = config();
	struct mt_counter *counter;

	if (slot)
		count_slot_reason(slot, reason);
	if (dropped) {
		counter = counter_of(slot);
		if (counter)
			__sync_fetch_and_add(&counter->drops, 1);
	}
	if (!cfg)
		return 0;
	if (cfg->flags & MT_CONFIG_TRACE ||
	    (dropped && cfg->sample && bpf_get_prandom_u32() % cfg->sample == 0))
		report(skb, slot, reason);
	return 0;
}

static __always_inline int leave(struct __sk_buff *skb, __u32 slot, __u32 reason, int verdict,
				 bool dropped)
{
	if (dry_run) {
		tell_dry_runner(skb, slot, reason);
		return verdict;
	}
	count_reason(reason);
	if (slot || dropped)
		account(skb, slot, reason, dropped);
	return verdict;
}

#define PASS(skb, slot, name)                                                                      \
	({                                                                                         \
		_Static_assert((int)MT_KIND_OF_##name == (int)MT_pass, #name " does not pass");    \
		leave(skb, slot, MT_##name, TC_ACT_UNSPEC, false);                                 \
	})

#define DROP(skb, slot, name)                                                                      \
	({                                                                                         \
		_Static_assert((int)MT_KIND_OF_##name == (int)MT_drop, #name " does not drop");    \
		leave(skb, slot, MT_##name, TC_ACT_SHOT, true);                                    \
	})

#define WHY(name)                                                                                  \
	({                                                                                         \
		_Static_assert((int)MT_KIND_OF_##name == (int)MT_drop, #name " does not drop");    \
		(int)MT_##name;                                                                    \
	})

static __always_inline int refuse(struct __sk_buff *skb, __u32 slot, int why)
{
	return leave(skb, slot, why, TC_ACT_SHOT, true);
}

#define STEER(skb, slot, name, verdict)                                                            \
	({                                                                                         \
		_Static_assert((int)MT_KIND_OF_##name == (int)MT_steer, #name " does not steer");  \
		leave(skb, slot, MT_##name, verdict, false);                                       \
	})

#endif
