/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* New connections a slot may open: a token bucket kept as one virtual clock (GCRA). */
#ifndef METATAP_LIMIT_H
#define METATAP_LIMIT_H

#include <stdbool.h>

#include "lib/dry_run.h"
#include "maps.h"

#define MT_SECOND_NS 1000000000ULL

/* Takes a token; false when the bucket is empty. Two CPUs at once: the loser goes unpaid. */
static __always_inline bool within_syn_budget(__u32 slot, const struct mt_slot *row,
					      const struct mt_config *cfg)
{
	__u64 interval = cfg->syn_interval_ns, burst = cfg->syn_burst_ns;
	struct mt_bucket *bucket;
	__u64 now, until, start;

	if (row->syn_rate) {
		interval = MT_SECOND_NS / row->syn_rate;
		burst = MT_SECOND_NS;
	}
	if (row->flags & MT_SLOT_NO_BUDGET || !interval)
		return true;
	bucket = bpf_map_lookup_elem(&mt_buckets, &slot);
	if (!bucket)
		return true;
	now = bpf_ktime_get_ns();
	until = *(volatile __u64 *)&bucket->full_until_ns;
	start = until > now ? until : now;
	if (start - now > burst)
		return false;
	if (!dry_run)
		__sync_val_compare_and_swap(&bucket->full_until_ns, until, start + interval);
	return true;
}

#endif
