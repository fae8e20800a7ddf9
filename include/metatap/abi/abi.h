/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the BPF programs and the daemon agree on: the only header that both include.
 * Fixed-width types, explicit padding, no pointer; sizes are asserted on both sides.
 * Ids are NUL-terminated text, so that `bpftool map dump pinned` reads like a table.
 * Addresses are in network order, everything else in host order.
 */
#ifndef METATAP_ABI_H
#define METATAP_ABI_H

#include <linux/types.h>

#ifdef __cplusplus
#define MT_STATIC_ASSERT(cond) static_assert(cond, #cond)
#else
#define MT_STATIC_ASSERT(cond) _Static_assert(cond, #cond)
#endif

/* Grows when a map's layout changes; a daemon refuses pinned maps of another version. */
#define MT_ABI_VERSION 4

#define MT_ID_LEN     40 /* a UUID and its NUL, rounded up */
#define MT_DEVICE_LEN 16 /* IFNAMSIZ */

#define MT_METADATA_PORT 80
#define MT_SLOTS	 16384 /* size of the slot table; slot 0 is nobody */

/*
 * Aliases: a guest's address as the metadata namespace sees it, unique on the host.
 *   value = slot << 12 | generation << 8 | index
 *   v4  240.0.0.0/4 | value
 *   v6  fd6d : value >> 16 : value & 0xffff : c : interface id
 * c makes the 16-bit sum of the prefix equal to that of the guest's own, so no checksum changes.
 * The generation is the slot's: what an old socket still sends to a former owner of the number
 * leads nowhere.
 */
#define MT_ALIAS_V4		  0xf0000000U
#define MT_ALIAS_V4_MASK	  0xf0000000U
#define MT_ALIAS_V6		  0xfd6dU
#define MT_ALIAS_SLOT_SHIFT	  12
#define MT_ALIAS_SLOT_MASK	  0xffffU
#define MT_ALIAS_GENERATION_SHIFT 8
#define MT_ALIAS_GENERATION_MASK  0xfU
#define MT_ALIAS_INDEX_MASK	  0xffU

/*
 * Alias indices of a port, per family. Configured addresses and learned ones have their own, so
 * that none of the former is ever pushed out by one of the latter.
 */
#define MT_LINK_LOCAL	 0   /* v6: fe80::/64; configured v6 addresses start at 1 */
#define MT_FIRST_LEARNED 192 /* configured addresses are below */
#define MT_LEARNED_MAX	 64  /* a ring; a power of two */

/*
 * A device that no port has yet (MT_SLOT_UNKNOWN) has so many addresses of each family, from 0 on
 * (v6: 1), and none takes another's place. So each keeps its alias when the port comes.
 */
#define MT_UNKNOWN_MAX 4

/*
 * Router mode: inside a router's or DHCP namespace the metadata address becomes one of the
 * namespace's own, which no rule of Neutron's matches, and is put back on the way out. The 16-bit
 * sum of both addresses is the same, so no checksum changes.
 *   169.254.169.254 <-> 240.254.98.254
 *   fe80::a9fe:a9fe <-> fd6d:6574:6174:6170:d8b9::a9fe:a9fe
 */
#define MT_INNER_V4   0xf0fe62feU
#define MT_INNER_V6_0 0xfd6d6574U
#define MT_INNER_V6_1 0x61746170U
#define MT_INNER_V6_2 0xd8b90000U
#define MT_INNER_V6_3 0xa9fea9feU

/*
 * Router mode: the tag is the slot's number in the low half of skb->mark. Neutron's address scopes
 * set the high half on every packet from a router port; its marks in the low half are 1 and 2.
 */
#define MT_TAG_MASK   0xffffU
#define MT_TAG_LOWEST 16

enum mt_reason {
#define MT_REASON(name, text, kind) MT_##name,
#include "metatap/abi/reasons.def"
#undef MT_REASON
	MT_REASONS
};
#define MT_REASON_ROWS 64 /* of the maps by reason: a new reason is no new layout */

enum mt_outcome {
	MT_pass,
	MT_drop,
	MT_steer,
};

enum mt_kind {
	MT_KIND_FREE,	       /* nobody, or in quarantine */
	MT_KIND_TAP,	       /* a port behind a tap: identity is the device */
	MT_KIND_ROUTER_DEVICE, /* a qr- or DHCP device: identity is the router and network */
	MT_KIND_ROUTER_PORT,   /* a port reached over such a device */
};

enum mt_slot_flags {
	MT_SLOT_DISABLED = 1 << 0,    /* admin_state_up is false: refuse */
	MT_SLOT_LEARN = 1 << 1,	      /* take whatever address the guest uses as its own */
	MT_SLOT_REFUSE_DOWN = 1 << 2, /* nobody listens: refuse rather than pass on */
	MT_SLOT_NO_BUDGET = 1 << 3,   /* no token bucket, whatever the rates are */
	MT_SLOT_PREFIXES = 1 << 4,    /* take what is within mt_prefixes as its own, too */
	MT_SLOT_ANY_MAC = 1 << 5,     /* frames may come from any MAC */
	/* Connections that were forwarded inside the guest; with neither they are counted apart. */
	MT_SLOT_REFUSE_FORWARDED = 1 << 6,
	MT_SLOT_ALLOW_FORWARDED = 1 << 7,
	/*
	 * No port has the device yet. Comes with MT_SLOT_ANY_MAC, and with MT_SLOT_LEARN but while
	 * a port is coming.
	 */
	MT_SLOT_UNKNOWN = 1 << 8,
};

/*
 * One steered identity. The slot's number is the tag: it is in the alias and in skb->mark.
 * Written by the daemon alone. A row that is nobody's keeps its generation. `first_v4` is in
 * mt_addresses and mt_aliases, too: most packets need no search for it.
 */
struct mt_slot {
	__u32 kind;  /* enum mt_kind */
	__u32 flags; /* enum mt_slot_flags */
	__u32 ifindex;
	__u16 vlan;	  /* 0: untagged */
	__u16 generation; /* grows by one, modulo 16, with each new owner of the number */
	union {
		__u32 device_slot; /* MT_KIND_ROUTER_PORT: the slot of its device */
		__u32 plug;	   /* MT_KIND_TAP: low half of the device's inode in sysfs */
	};
	__u8 mac[6];	 /* the port's */
	__u16 syn_rate;	 /* its own budget of new connections a second; 0: mt_config's */
	__be32 first_v4; /* a tap's address with index 0, if all comes from `mac`; else 0 */
	char device[MT_DEVICE_LEN];
	char port_id[MT_ID_LEN];
	char network_id[MT_ID_LEN];
	char router_id[MT_ID_LEN];
};

/* mt_owners: the slots that are somebody's, for who looks in. No program reads it. */
struct mt_slot_owner {
	char kind[16]; /* "tap", "tap, no port", "router device", "router port" */
	char device[MT_DEVICE_LEN];
	char port_id[MT_ID_LEN];
};

/* mt_reason_names: what the numbers in mt_reasons, mt_slot_reasons and mt_events mean. */
struct mt_reason_name {
	char outcome[8]; /* "pass", "drop", "steer" */
	char name[24];
};

/* mt_ports: which slot a packet from this device and VLAN belongs to. */
struct mt_port_key {
	__u32 ifindex;
	__u16 vlan;
	__u16 pad;
};

/*
 * mt_listeners, stored with a listening socket: the namespace it is in. An ifindex says nothing
 * without it, and nothing else at TC names the namespace of a packet.
 */
struct mt_listener {
	__u32 place; /* given by the daemon, never 0 */
	__u32 pad;
};

/* mt_devices, router mode: which slot a device of a namespace is. */
struct mt_device_key {
	__u32 place;
	__u32 ifindex;
};

/* mt_elsewhere: a connection by the guest's side of it, as the sockets have it. */
struct mt_flow {
	__u32 ifindex;
	__be16 port;
	__u16 pad;
	__u8 address[16]; /* left-justified, rest zero */
};

enum mt_family {
	MT_FAMILY_V4 = 4,
	MT_FAMILY_V6 = 6,
	MT_FAMILY_MAC = 1, /* mt_sources: for link-local v6; mt_addresses: further MACs */
};

/* mt_addresses: what a port may ask from: its addresses, and its MACs but for the first. */
struct mt_address_key {
	__u32 slot;
	__u16 generation;
	__u16 family;	  /* enum mt_family */
	__u8 address[16]; /* left-justified, rest zero */
};
struct mt_address {
	__u32 index; /* in the alias; 0 for a MAC */
	__u8 mac[6]; /* last seen with this address */
	__u16 pad;
};

/* mt_aliases: the way back: which address of the port an alias stands for. */
struct mt_alias_key {
	__u32 slot;
	__u16 generation;
	__u8 family; /* enum mt_family */
	__u8 index;
};
struct mt_alias {
	__u8 address[16]; /* left-justified, rest zero; MT_LINK_LOCAL: fe80:: */
	__u8 mac[6];	  /* where answers go; zero: the slot's */
	__u16 pad;
};

/* mt_prefixes: whole networks that a port may ask from (MT_SLOT_PREFIXES). The value is 1. */
#define MT_PREFIX_OF_PORT 64 /* bits before the address */
struct mt_prefix_key {
	__u32 prefixlen; /* MT_PREFIX_OF_PORT + that of the address */
	__u32 slot;
	__u16 generation;
	__u16 family; /* enum mt_family */
	__u8 address[16];
};

/* mt_sources, router mode: which port of a device uses this address or MAC. */
struct mt_source_key {
	__u32 device_slot;
	__u32 family;	  /* enum mt_family */
	__u8 address[16]; /* left-justified, rest zero */
};

/*
 * mt_counters. Its four last fields are reasons: those that nearly all packets have, of taps and
 * routers alike. Each packet would have to look for its row in mt_slot_reasons.
 */
struct mt_counter {
	__u64 packets; /* steered, from the guest */
	__u64 bytes;
	__u64 syns;
	__u64 drops;
	__u64 answers; /* back to the guest */
	__u64 answer_bytes;
	__u64 learned_v4; /* addresses learned; the last MT_LEARNED_MAX are remembered */
	__u64 learned_v6;
	__u64 steered_v4;  /* or router_v4 */
	__u64 steered_v6;  /* or router_v6 */
	__u64 answered_v4; /* return_v4 or router_answer_v4 */
	__u64 answered_v6; /* return_v6 or router_answer_v6 */
};

/* mt_slot_reasons: all other reasons, per slot; a row appears with its first packet. */
struct mt_slot_reason {
	__u32 slot;
	__u32 reason;
};

/*
 * mt_buckets: SYN budget as a virtual clock (GCRA): when all that was taken is paid for. The daemon
 * writes it only for a new owner of the slot.
 */
struct mt_bucket {
	__u64 full_until_ns;
};

enum mt_config_flags {
	MT_CONFIG_GATE = 1 << 0,  /* ask on each SYN whether somebody listens */
	MT_CONFIG_AWAY = 1 << 1,  /* as if nobody did: the daemon is about to end */
	MT_CONFIG_TRACE = 1 << 2, /* somebody looks on: each packet of a slot goes to mt_events */
};

/* mt_config, one row. */
struct mt_config {
	__u32 abi_version;
	__u32 flags;	       /* enum mt_config_flags */
	__u32 veth_ifindex;    /* host end of the pair into the metadata namespace */
	__s32 nsid;	       /* the metadata namespace, as seen from the taps' one */
	__u64 syn_interval_ns; /* 1 s / rate; 0: no budget */
	__u64 syn_burst_ns;    /* burst * interval */
	__u32 sample;	       /* one in so many drops goes to mt_events, untraced; 0: none */
	__u8 mac[6];	       /* ours: answers to ARP and ND, source of answers */
	__u16 pad;
};

/*
 * mt_events, a ring buffer: a sample of what was dropped, and all packets of slots while somebody
 * looks on. The source is as the packet left: an alias where it was steered.
 */
struct mt_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 slot;
	__u32 reason;
	__u32 ifindex;
	__u32 length;
	__u16 vlan;
	__u16 protocol;	  /* EtherType, host order */
	__u8 l4_protocol; /* 0: not known */
	__u8 pad;
	__u8 source_mac[6];
	__u8 pad2[4];
	__u8 source[16]; /* v4 left-justified */
};

/* Where in skb->cb a dry run says why it left, plus one, and whose packet it was. */
#define MT_DRY_RUN_REASON 0
#define MT_DRY_RUN_SLOT	  1

/* The daemon's own connections into the metadata namespace come from an alias of nobody's slot. */
#define MT_PROBE_SLOT 0

MT_STATIC_ASSERT((int)MT_REASONS <= MT_REASON_ROWS);
MT_STATIC_ASSERT(MT_SLOTS <= MT_TAG_MASK + 1);
MT_STATIC_ASSERT(MT_TAG_MASK == MT_ALIAS_SLOT_MASK);
MT_STATIC_ASSERT(MT_UNKNOWN_MAX < MT_FIRST_LEARNED);
MT_STATIC_ASSERT(MT_FIRST_LEARNED + MT_LEARNED_MAX == MT_ALIAS_INDEX_MASK + 1);
MT_STATIC_ASSERT(sizeof(struct mt_slot) == 168);
MT_STATIC_ASSERT(sizeof(struct mt_slot_owner) == 72);
MT_STATIC_ASSERT(sizeof(struct mt_reason_name) == 32);
MT_STATIC_ASSERT(sizeof(struct mt_port_key) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_listener) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_device_key) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_flow) == 24);
MT_STATIC_ASSERT(sizeof(struct mt_source_key) == 24);
MT_STATIC_ASSERT(sizeof(struct mt_address_key) == 24);
MT_STATIC_ASSERT(sizeof(struct mt_address) == 12);
MT_STATIC_ASSERT(sizeof(struct mt_alias_key) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_alias) == 24);
MT_STATIC_ASSERT(sizeof(struct mt_prefix_key) == 28);
MT_STATIC_ASSERT(sizeof(struct mt_counter) == 96);
MT_STATIC_ASSERT(sizeof(struct mt_slot_reason) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_bucket) == 8);
MT_STATIC_ASSERT(sizeof(struct mt_config) == 48);
MT_STATIC_ASSERT(sizeof(struct mt_event) == 56);

#endif
