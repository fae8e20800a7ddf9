/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The maps, shared by all programs and pinned by the daemon: the state one looks at. */
#ifndef METATAP_MAPS_H
#define METATAP_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "metatap/abi/abi.h"

/* Settings of the daemon that runs now. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_config);
} mt_config SEC(".maps");

static __always_inline const struct mt_config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mt_config, &zero);
}

/* Who is who, by slot number. Slot 0 is nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct mt_slot);
} mt_slots SEC(".maps");

/* The rows of mt_slots that are in use, as text: a dump of that one shows the free ones, too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct mt_slot_owner);
} mt_owners SEC(".maps");

/* Device and VLAN to slot. The row goes first when a device does. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MT_SLOTS);
	__type(key, struct mt_port_key);
	__type(value, __u32);
} mt_ports SEC(".maps");

/*
 * Tap mode: slot to its device. The kernel itself takes a device out when it goes, also while no
 * daemon runs: whoever has its number afterwards gets none of its answers. Not pinned: the kernel
 * changes such a map's flags, and an older libbpf would not know it again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} mt_taps SEC(".maps");

/* Tap mode: address, or further MAC, of a port to its alias' index: who may ask. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8 * MT_SLOTS);
	__type(key, struct mt_address_key);
	__type(value, struct mt_address);
} mt_addresses SEC(".maps");

/* Tap mode: alias to the guest's address and MAC: the way back. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8 * MT_SLOTS);
	__type(key, struct mt_alias_key);
	__type(value, struct mt_alias);
} mt_aliases SEC(".maps");

/* Tap mode: networks that a port may ask from: its address pairs with a prefix. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4 * MT_SLOTS);
	__type(key, struct mt_prefix_key);
	__type(value, __u32);
} mt_prefixes SEC(".maps");

/* Router mode: device of a namespace to slot. The row goes first when a device does. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MT_SLOTS);
	__type(key, struct mt_device_key);
	__type(value, __u32);
} mt_devices SEC(".maps");

/* Router mode: listening socket to namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mt_listener);
} mt_listeners SEC(".maps");

/*
 * Connections that went another way while something of an earlier one of ours was left under their
 * addresses, and when. What is left owns nothing from then on. The daemon empties it once all that
 * was left is gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct mt_flow);
	__type(value, __u64);
} mt_elsewhere SEC(".maps");

/* Router mode: address or MAC behind a device to slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4 * MT_SLOTS);
	__type(key, struct mt_source_key);
	__type(value, __u32);
} mt_sources SEC(".maps");

/* Traffic by slot. Shared by all CPUs: one guest's metadata rarely comes in on two at once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct mt_counter);
} mt_counters SEC(".maps");

/* Packets by reason, per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_REASON_ROWS);
	__type(key, __u32);
	__type(value, __u64);
} mt_reasons SEC(".maps");

/* The reasons' names, by number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_REASON_ROWS);
	__type(key, __u32);
	__type(value, struct mt_reason_name);
} mt_reason_names SEC(".maps");

/*
 * Packets by slot and reason, but for the ordinary ones, which are in mt_counters; what never
 * happened has no row.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8 * MT_SLOTS);
	__type(key, struct mt_slot_reason);
	__type(value, __u64);
} mt_slot_reasons SEC(".maps");

/* SYN budget by slot. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct mt_bucket);
} mt_buckets SEC(".maps");

/* A sample of the drops, and what somebody who looks on is told. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} mt_events SEC(".maps");

#endif
