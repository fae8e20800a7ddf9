/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Which addresses and MACs a port may ask from, and where the answers go. What the daemon has
 * configured is one lookup; the rest is learned, if the port's policy has room for it.
 */
#ifndef METATAP_ADDRESS_H
#define METATAP_ADDRESS_H

#include "lib/alias.h"
#include "lib/count.h"
#include "lib/dry_run.h"
#include "lib/packet.h"
#include "lib/verdict.h"
#include "lib/who.h"
#include "maps.h"

/* Answers go to the MAC the guest speaks from: its own, or one behind it. */
static __always_inline void note_mac(__u8 *known, const __u8 *seen)
{
	if (!dry_run && !same_mac(known, seen))
		__builtin_memcpy(known, seen, ETH_ALEN);
}

static __always_inline bool within_prefixes(const struct mt_address_key *address)
{
	struct mt_prefix_key key = {
		.prefixlen = MT_PREFIX_OF_PORT + 8 * sizeof(key.address),
		.slot = address->slot,
		.generation = address->generation,
		.family = address->family,
	};

	__builtin_memcpy(key.address, address->address, sizeof(key.address));
	return bpf_map_lookup_elem(&mt_prefixes, &key);
}

/* Takes the row of the address that has had this place in the ring. */
static __always_inline void forget(struct mt_address_key *key, const struct mt_alias *old,
				   __u32 index)
{
	struct mt_address *row;

	__builtin_memcpy(key->address, old->address, sizeof(key->address));
	row = bpf_map_lookup_elem(&mt_addresses, key);
	if (row && row->index == index)
		bpf_map_delete_elem(&mt_addresses, key);
}

static __always_inline int not_its_own(__u16 family)
{
	return family == MT_FAMILY_V4 ? -WHY(spoofed_v4) : -WHY(spoofed_v6);
}

/* The index of the next address to be learned, of which so many were before; negative: no room. */
static __always_inline int next_index(__u32 flags, __u16 family, __u64 number)
{
	if (!(flags & MT_SLOT_UNKNOWN))
		return MT_FIRST_LEARNED + number % MT_LEARNED_MAX;
	if (number >= MT_UNKNOWN_MAX)
		return -WHY(addresses_full);
	return number + (family == MT_FAMILY_V6);
}

/*
 * Is a port coming since these were the slot's flags? Who names a slot ends its learning first and
 * reads what was learned then; who learns counts first and looks at the flags then. So one of the
 * two sees the other.
 */
static __always_inline bool is_being_named(__u32 slot, __u32 flags)
{
	struct mt_slot *row = bpf_map_lookup_elem(&mt_slots, &slot);

	return flags & MT_SLOT_UNKNOWN && (!row || *(volatile __u32 *)&row->flags != flags);
}

/*
 * Another CPU has learned that address just now. While the port is not known it keeps the MAC that
 * it was seen with there.
 */
static __always_inline int learned_by_another(const struct mt_address_key *key, __u32 flags,
					      const __u8 *mac)
{
	struct mt_address *first = bpf_map_lookup_elem(&mt_addresses, key);

	if (!first)
		return -WHY(addresses_full);
	if (flags & MT_SLOT_UNKNOWN && !same_mac(first->mac, mac))
		return -WHY(wrong_mac);
	return first->index & MT_ALIAS_INDEX_MASK;
}

/*
 * Makes an unknown address the port's own, if its flags have it so: in the place of the one that
 * was learned longest ago. Two CPUs have two places; of two that learn one address the second
 * takes what the first has written. Returns what index_of() does.
 */
static __noinline int learn(const struct mt_address_key *key, __u32 flags, const __u8 *mac)
{
	struct mt_address_key other = *key;
	struct mt_alias_key place = {
		.slot = key->slot, .generation = key->generation, .family = key->family};
	struct mt_counter *counter = counter_of(key->slot);
	struct mt_alias alias = {}, *old;
	struct mt_address address = {};
	__u64 number;
	int index;

	if (!(flags & MT_SLOT_LEARN) && (!(flags & MT_SLOT_PREFIXES) || !within_prefixes(key)))
		return not_its_own(key->family);
	if (!counter)
		return -WHY(addresses_full);
	if (dry_run)
		number = key->family == MT_FAMILY_V4 ? counter->learned_v4 : counter->learned_v6;
	else
		number = key->family == MT_FAMILY_V4
				 ? __sync_fetch_and_add(&counter->learned_v4, 1)
				 : __sync_fetch_and_add(&counter->learned_v6, 1);
	index = next_index(flags, key->family, number);
	if (dry_run || index < 0)
		return index; /* the place it would get */
	if (is_being_named(key->slot, flags))
		return not_its_own(key->family);
	address.index = index;
	place.index = index;
	__builtin_memcpy(address.mac, mac, ETH_ALEN);
	if (bpf_map_update_elem(&mt_addresses, key, &address, BPF_NOEXIST))
		return learned_by_another(key, flags, mac);
	old = bpf_map_lookup_elem(&mt_aliases, &place);
	if (old)
		forget(&other, old, address.index);
	__builtin_memcpy(alias.address, key->address, sizeof(alias.address));
	__builtin_memcpy(alias.mac, mac, ETH_ALEN);
	if (bpf_map_update_elem(&mt_aliases, &place, &alias, BPF_ANY)) {
		bpf_map_delete_elem(&mt_addresses, key);
		return -WHY(addresses_full);
	}
	return address.index;
}

/*
 * Answers to the port's address with this index follow the MAC that it speaks from. False: it may
 * not speak from there. While the port is not known an address keeps the MAC that it was first
 * seen with: that is what will be asked of it when the port is known.
 */
static __always_inline bool follow_mac(const struct mt_who *who, __u8 family, __u32 index)
{
	struct mt_alias_key place = {.slot = who->slot,
				     .generation = who->row->generation,
				     .family = family,
				     .index = index};
	struct mt_alias *back = bpf_map_lookup_elem(&mt_aliases, &place);

	if (!back) /* no way back: nothing has come from there yet */
		return !(who->row->flags & MT_SLOT_UNKNOWN);
	if (who->row->flags & MT_SLOT_UNKNOWN &&
	    (has_mac(back->mac) || !(who->row->flags & MT_SLOT_LEARN)))
		return same_mac(back->mac, who->mac);
	note_mac(back->mac, who->mac);
	return true;
}

/* Who has no address yet, a group and broadcast ask for nothing. */
static __always_inline bool may_ask(const struct mt_in6 *address, bool v4)
{
	__u32 first = bpf_ntohl(address->w[0]);

	if (v4)
		return first && ~first && first >> 28 != 0xe;
	return first >> 24 != 0xff && !is_unspecified(address);
}

/*
 * Which of the port's addresses is it? Its index, or the negative reason to refuse it. An address
 * that is merely reported, in an ICMP error, teaches nothing. v4 is in the first word, the others
 * are zero.
 */
static __always_inline int index_of(const struct mt_who *who, const struct mt_in6 *address, bool v4,
				    bool reported)
{
	struct mt_address_key key = {.slot = who->slot,
				     .generation = who->row->generation,
				     .family = v4 ? MT_FAMILY_V4 : MT_FAMILY_V6};
	struct mt_address *known;

	/* Only where who_is() has let no MAC through but the one that answers go to. */
	if (v4 && address->w[0] == who->row->first_v4 && address->w[0])
		return 0;
	if (!v4 && is_link_local(address)) {
		if (!reported && !follow_mac(who, key.family, MT_LINK_LOCAL))
			return -WHY(wrong_mac);
		return MT_LINK_LOCAL;
	}
	if (!may_ask(address, v4))
		return not_its_own(key.family);
	__builtin_memcpy(key.address, address, sizeof(key.address));
	known = bpf_map_lookup_elem(&mt_addresses, &key);
	if (!known) {
		if (reported || !(who->row->flags & (MT_SLOT_LEARN | MT_SLOT_PREFIXES)))
			return not_its_own(key.family);
		return learn(&key, who->row->flags, who->mac);
	}
	if (!reported && !same_mac(known->mac, who->mac)) {
		if (!follow_mac(who, key.family, known->index))
			return -WHY(wrong_mac);
		note_mac(known->mac, who->mac);
	}
	return known->index & MT_ALIAS_INDEX_MASK;
}

/* Whose packet is it, and which of the port's addresses is `address`? As index_of(). */
static __always_inline int identify(struct __sk_buff *skb, __u16 vlan, const struct mt_in6 *address,
				    bool v4, bool reported, struct mt_who *who)
{
	int refused = who_is(skb, vlan, who);

	return refused ? refused : index_of(who, address, v4, reported);
}

#endif
