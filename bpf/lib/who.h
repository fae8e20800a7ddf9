/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Who is it: the slot, its row, and the MAC it speaks from. */
#ifndef METATAP_WHO_H
#define METATAP_WHO_H

#include "lib/packet.h"
#include "lib/verdict.h"
#include "maps.h"

/* Whose packet a tap's is, and from which MAC. */
struct mt_who {
	__u32 slot;
	struct mt_slot *row;
	__u8 mac[8]; /* and two zero bytes */
};

/* The slot's row; null: it is nobody's, or no such port or device's. */
static __always_inline struct mt_slot *slot_row(__u32 slot, __u32 kind)
{
	struct mt_slot *row = bpf_map_lookup_elem(&mt_slots, &slot);

	return row && row->kind == kind ? row : 0;
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

static __always_inline bool has_mac(const __u8 *mac)
{
	return *(__u32 *)mac || *(__u16 *)(mac + 4);
}

/* May frames come from this MAC? A group address is nobody's. */
static __always_inline bool is_own_mac(const struct mt_who *who)
{
	struct mt_address_key key = {
		.slot = who->slot, .generation = who->row->generation, .family = MT_FAMILY_MAC};

	if (same_mac(who->mac, who->row->mac))
		return true;
	if (who->mac[0] & 1)
		return false;
	if (who->row->flags & MT_SLOT_ANY_MAC)
		return true;
	__builtin_memcpy(key.address, who->mac, ETH_ALEN);
	return bpf_map_lookup_elem(&mt_addresses, &key);
}

/* Whose packet is it, behind this tap? 0, or the negative reason to refuse it. */
static __always_inline int who_is(struct __sk_buff *skb, __u16 vlan, struct mt_who *who)
{
	struct mt_port_key key = {.ifindex = skb->ifindex, .vlan = vlan};
	__u32 *slot = bpf_map_lookup_elem(&mt_ports, &key);

	if (!slot)
		return -WHY(unknown_port);
	who->row = slot_row(*slot, MT_KIND_TAP);
	if (!who->row)
		return -WHY(unknown_port);
	who->slot = *slot;
	if (who->row->flags & MT_SLOT_DISABLED)
		return -WHY(port_disabled);
	if (load(skb, __builtin_offsetof(struct ethhdr, h_source), who->mac, ETH_ALEN) ||
	    !is_own_mac(who))
		return -WHY(wrong_mac);
	return 0;
}

#endif
