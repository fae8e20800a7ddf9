/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What is counted: traffic by slot, reasons for the host and by slot. */
#ifndef METATAP_COUNT_H
#define METATAP_COUNT_H

#include <stdbool.h>

#include "lib/dry_run.h"
#include "maps.h"

static __always_inline struct mt_counter *counter_of(__u32 slot)
{
	return bpf_map_lookup_elem(&mt_counters, &slot);
}

/* A packet of the guest's, on its way to the listener. */
static __always_inline void count_steered(struct __sk_buff *skb, __u32 slot, bool syn)
{
	struct mt_counter *counter = dry_run ? 0 : counter_of(slot);

	if (!counter)
		return;
	__sync_fetch_and_add(&counter->packets, 1);
	__sync_fetch_and_add(&counter->bytes, skb->len);
	if (syn)
		__sync_fetch_and_add(&counter->syns, 1);
}

/* A packet to the guest. */
static __always_inline void count_answer(struct __sk_buff *skb, __u32 slot)
{
	struct mt_counter *counter = dry_run ? 0 : counter_of(slot);

	if (!counter)
		return;
	__sync_fetch_and_add(&counter->answers, 1);
	__sync_fetch_and_add(&counter->answer_bytes, skb->len);
}

static __always_inline void count_reason(__u32 reason)
{
	__u64 *total = dry_run ? 0 : bpf_map_lookup_elem(&mt_reasons, &reason);

	if (total)
		*total += 1; /* this CPU's own */
}

/* Where a reason that nearly all packets have is counted; null: it has a row of its own. */
static __always_inline __u64 *ordinary_count(struct mt_counter *counter, __u32 reason)
{
	switch (reason) {
	case MT_steered_v4:
	case MT_router_v4:
		return &counter->steered_v4;
	case MT_steered_v6:
	case MT_router_v6:
		return &counter->steered_v6;
	case MT_return_v4:
	case MT_router_answer_v4:
		return &counter->answered_v4;
	case MT_return_v6:
	case MT_router_answer_v6:
		return &counter->answered_v6;
	default:
		return 0;
	}
}

static __always_inline void count_slot_reason(__u32 slot, __u32 reason)
{
	struct mt_slot_reason key = {.slot = slot, .reason = reason};
	struct mt_counter *counter = counter_of(slot);
	__u64 one = 1, *count;

	if (!counter)
		return;
	count = ordinary_count(counter, reason);
	if (count) {
		__sync_fetch_and_add(count, 1);
		return;
	}
	count = bpf_map_lookup_elem(&mt_slot_reasons, &key);
	if (!count) {
		if (!bpf_map_update_elem(&mt_slot_reasons, &key, &one, BPF_NOEXIST))
			return;
		count = bpf_map_lookup_elem(&mt_slot_reasons, &key); /* another CPU was first */
	}
	if (count)
		__sync_fetch_and_add(count, 1);
}

#endif
