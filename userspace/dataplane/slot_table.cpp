// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_table.hpp"

#include <bpf/bpf.h>

#include <cstring>

#include "dataplane/programs.hpp"

namespace metatap::dataplane {
namespace {

SlotOwner owner_of(std::uint32_t slot, const mt_slot& row) {
  return {slot, row.generation};
}

bool is_nothing(const sys::IpAddress&) {
  return false;
}

}  // namespace

SlotTable::SlotTable(Programs* programs, std::uint32_t size, std::chrono::seconds quarantine)
    : programs_(programs),
      maps_(programs),
      allocator_(size, quarantine, MT_TAG_LOWEST),
      entries_(size),
      inherited_(maps_.read()) {
  for (std::uint32_t slot = 1; programs_ != nullptr && slot < size; ++slot) {
    const auto row = read(slot);
    if (row && (row->kind != MT_KIND_FREE || row->generation != 0)) {
      allocator_.reserve(slot);
    }
    if (row && row->kind == MT_KIND_FREE) {
      allocator_.release(slot);  // its last owner went, nobody knows when
    }
  }
}

Result<std::uint32_t> SlotTable::add(mt_slot row, std::shared_ptr<Origin> origin,
                                     PortAddresses addresses) {
  auto slot = allocator_.acquire();
  if (!slot) {
    return slot;
  }
  if (const auto before = read(*slot)) {
    row.generation = (before->generation + 1) & MT_ALIAS_GENERATION_MASK;
    // A program that was learning while the last owner went may have been late.
    maps_.forget_learned(owner_of(*slot, *before), is_nothing);
  }
  clear_counters(*slot);
  origin->slot = *slot;
  addresses.number({});
  auto written = maps_.change(owner_of(*slot, row), {}, addresses);
  entries_[*slot].store(
      std::make_shared<const Entry>(Entry{std::move(origin), row, std::move(addresses)}));
  if (written) {
    written = write(*slot, row);
  }
  if (!written) {
    remove(*slot);
    rest(*slot);
    return tl::make_unexpected(std::move(written.error()));
  }
  return slot;
}

Status SlotTable::adopt(std::uint32_t slot, mt_slot row, std::shared_ptr<Origin> origin,
                        PortAddresses addresses) {
  const auto now = read(slot);
  if (!now) {
    return tl::make_unexpected(now.error());
  }
  if (auto taken = allocator_.adopt(slot); !taken) {
    return taken;
  }
  origin->slot = slot;
  auto left = inherited_.extract(owner_of(slot, *now));
  entries_[slot].store(std::make_shared<const Entry>(
      Entry{std::move(origin), *now, left ? std::move(left.mapped()) : PortAddresses{}}));
  auto updated = update(slot, row, std::move(addresses));
  if (!updated) {
    remove(slot);
    rest(slot);
  }
  return updated;
}

Status SlotTable::update(std::uint32_t slot, mt_slot row, PortAddresses addresses) {
  const auto entry = find(slot);
  if (!entry) {
    return fail(ErrorCode::not_found, "slot " + std::to_string(slot) + " is nobody's");
  }
  row.generation = entry->row.generation;
  addresses.number(entry->addresses);
  if (std::memcmp(&row, &entry->row, sizeof(row)) == 0 && addresses == entry->addresses) {
    return {};
  }
  const auto owner = owner_of(slot, row);
  // Policy first, then what it no longer admits, then what is new.
  if (auto written = write(slot, row); !written) {
    return written;
  }
  if ((row.flags & MT_SLOT_LEARN) == 0) {
    maps_.forget_learned(owner, [&](const auto& address) { return addresses.admits(address); });
  }
  auto changed = maps_.change(owner, entry->addresses, addresses);
  // What could not be written whole is tried again by the next update.
  entries_[slot].store(std::make_shared<const Entry>(
      Entry{entry->origin, row, changed ? std::move(addresses) : entry->addresses}));
  return changed;
}

void SlotTable::remove(std::uint32_t slot) {
  if (slot == 0 || slot >= entries_.size()) {
    return;
  }
  if (const auto entry = entries_[slot].exchange(nullptr)) {
    entry->origin->revoked.store(true);
    clear(slot, entry->row.generation, entry->addresses);
  }
}

void SlotTable::rest(std::uint32_t slot) {
  allocator_.release(slot);
}

std::shared_ptr<const SlotTable::Entry> SlotTable::find(std::uint32_t slot) const {
  return slot < entries_.size() ? entries_[slot].load(std::memory_order_acquire) : nullptr;
}

Result<mt_slot> SlotTable::read(std::uint32_t slot) const {
  mt_slot row{};
  if (programs_ == nullptr) {
    return fail(ErrorCode::unsupported, "no slot map without BPF");
  }
  if (::bpf_map_lookup_elem(programs_->map("mt_slots"), &slot, &row) != 0) {
    return fail_errno(errno, "read slot " + std::to_string(slot));
  }
  return row;
}

std::vector<std::pair<std::uint32_t, mt_slot>> SlotTable::orphans() const {
  std::vector<std::pair<std::uint32_t, mt_slot>> found;
  for (std::uint32_t slot = 1; programs_ != nullptr && slot < entries_.size(); ++slot) {
    if (entries_[slot].load()) {
      continue;
    }
    if (auto row = read(slot); row && row->kind != MT_KIND_FREE) {
      found.emplace_back(slot, *row);
    }
  }
  return found;
}

void SlotTable::drop_orphans(const std::function<bool(const mt_slot&)>& mine) {
  for (const auto& [slot, row] : orphans()) {
    if (mine(row)) {
      const auto left = inherited_.extract(owner_of(slot, row));
      clear(slot, row.generation, left ? left.mapped() : PortAddresses{});
      allocator_.release(slot);
    }
  }
  // Rows of addresses whose slot has gone already.
  std::erase_if(inherited_, [&](const auto& left) {
    const auto row = read(left.first.slot);
    const bool nobodys =
        row && (row->kind == MT_KIND_FREE || row->generation != left.first.generation);
    if (nobodys) {
      (void)maps_.change(left.first, left.second, {});
    }
    return nobodys;
  });
}

/// The row first: an alias whose slot is free leads nowhere. Its generation stays, to be followed.
void SlotTable::clear(std::uint32_t slot, std::uint16_t generation,
                      const PortAddresses& addresses) {
  mt_slot nobody{};
  nobody.generation = generation;
  (void)write(slot, nobody);
  (void)maps_.change(owner_of(slot, nobody), addresses, {});
  maps_.forget_learned(owner_of(slot, nobody), is_nothing);
}

std::optional<sys::IpAddress> SlotTable::address_of(const Alias& alias, int family) const {
  return maps_.address_of(alias, family);
}

Status SlotTable::write(std::uint32_t slot, const mt_slot& row) const {
  if (programs_ != nullptr &&
      ::bpf_map_update_elem(programs_->map("mt_slots"), &slot, &row, BPF_ANY) != 0) {
    return fail_errno(errno, "write slot " + std::to_string(slot));
  }
  return {};
}

void SlotTable::clear_counters(std::uint32_t slot) const {
  if (programs_ == nullptr) {
    return;
  }
  const mt_counter no_traffic{};
  const mt_bucket full{};
  ::bpf_map_update_elem(programs_->map("mt_counters"), &slot, &no_traffic, BPF_ANY);
  ::bpf_map_update_elem(programs_->map("mt_buckets"), &slot, &full, BPF_ANY);
  for (std::uint32_t reason = 0; reason < MT_REASONS; ++reason) {
    const mt_slot_reason key{slot, reason};
    ::bpf_map_delete_elem(programs_->map("mt_slot_reasons"), &key);
  }
}

}  // namespace metatap::dataplane
