// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_table.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/log.hpp"
#include "dataplane/abi_text.hpp"

namespace metatap::dataplane {
namespace {

SlotOwner owner_of(std::uint32_t slot, const mt_slot& row) {
  return {slot, row.generation};
}

bool is_nothing(const Address&) {
  return false;
}

MacAddress mac_of(const mt_slot& row) {
  MacAddress mac{};
  std::ranges::copy(row.mac, mac.begin());
  return mac;
}

mt_slot_owner text_of(const mt_slot& row) {
  mt_slot_owner owner{};
  copy_text(owner.kind, (row.flags & MT_SLOT_UNKNOWN) != 0  ? "tap, no port"
                        : row.kind == MT_KIND_TAP           ? "tap"
                        : row.kind == MT_KIND_ROUTER_DEVICE ? "router device"
                                                            : "router port");
  copy_text(owner.device, row.device);
  copy_text(owner.port_id, row.port_id);
  return owner;
}

}  // namespace

SlotTable::SlotTable(const Maps* maps, std::shared_ptr<CallerTable> callers,
                     std::chrono::seconds quarantine)
    : maps_(maps),
      callers_(std::move(callers)),
      addresses_(maps),
      allocator_(callers_->slots(), quarantine, MT_TAG_LOWEST),
      entries_(callers_->slots()) {
  for (std::uint32_t slot = 1; maps_ != nullptr && slot < entries_.size(); ++slot) {
    const auto row = read(slot);
    if (!row || (row->kind == MT_KIND_FREE && row->generation == 0)) {
      continue;
    }
    allocator_.reserve(slot);
    if (row->kind == MT_KIND_FREE) {
      allocator_.release(slot);  // its last owner went, nobody knows when
    } else {
      orphans_.emplace(slot, *row);
    }
    tell_owner(slot, *row);
  }
  if (auto left = addresses_.read()) {
    inherited_ = *std::move(left);
  } else {
    log::warn("addresses of an earlier process: {}", left.error().message);
  }
}

Result<std::uint32_t> SlotTable::add(mt_slot row, std::shared_ptr<Origin> origin,
                                     PortAddresses addresses) {
  auto slot = allocator_.acquire();
  if (!slot) {
    return slot;
  }
  Status written;
  if (maps_ != nullptr) {
    const auto last = read(*slot).value_or(mt_slot{});
    row.generation = (last.generation + 1) & MT_ALIAS_GENERATION_MASK;
    // A program that was learning while the last owner went may have been late.
    written = forget(owner_of(*slot, last));
  }
  if (written) {
    written = clear_counters(*slot);
  }
  addresses.number({});
  row.first_v4 = addresses.first_v4();
  if (written) {
    written = addresses_.change(owner_of(*slot, row), {}, addresses);
  }
  const auto entry =
      std::make_shared<const Entry>(Entry{std::move(origin), row, std::move(addresses)});
  entries_[*slot] = entry;
  callers_->add(*slot, *entry);
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
  const auto orphan = orphans_.extract(slot);
  if (!orphan) {
    return fail(ErrorCode::conflict,
                "slot " + std::to_string(slot) + " was not left by an earlier process");
  }
  if (auto taken = allocator_.adopt(slot); !taken) {
    return taken;
  }
  const auto owner = owner_of(slot, orphan.mapped());
  auto left = inherited_.extract(owner);
  auto addresses_left = left ? std::move(left.mapped()) : PortAddresses{};
  Status kept;
  if ((orphan.mapped().flags & MT_SLOT_UNKNOWN) != 0) {
    kept = keep_met_alone(owner, addresses_left);
  }
  for (auto& own : addresses_left.addresses) {
    own.met = true;
  }
  const auto entry = std::make_shared<const Entry>(
      Entry{std::move(origin), orphan.mapped(), std::move(addresses_left)});
  entries_[slot] = entry;
  callers_->add(slot, *entry);
  // The devices that answers may go to are known to the programs of one process alone.
  auto updated = maps_ != nullptr && kept ? write(slot, entry->row) : kept;
  if (updated) {
    updated = update(slot, row, std::move(addresses));
  }
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
  addresses.keep_macs(entry->addresses, mac_of(row));
  addresses.keep_met(entry->addresses, (row.flags & MT_SLOT_LEARN) != 0);
  addresses.number(entry->addresses);
  row.first_v4 = addresses.first_v4();
  if (std::memcmp(&row, &entry->row, sizeof(row)) == 0 && addresses == entry->addresses) {
    return {};
  }
  const auto owner = owner_of(slot, row);
  // Policy first, then what it no longer admits, then what is new.
  if (auto written = write(slot, row); !written) {
    return written;
  }
  if ((row.flags & MT_SLOT_LEARN) == 0) {
    if (auto forgotten = addresses_.forget_learned(
            owner, [&](const auto& address) { return addresses.admits(address); });
        !forgotten) {
      return forgotten;
    }
  }
  auto changed = addresses_.change(owner, entry->addresses, addresses);
  // What could not be written whole is tried again by the next update.
  entries_[slot] = std::make_shared<const Entry>(
      Entry{entry->origin, row, changed ? std::move(addresses) : entry->addresses});
  callers_->update(slot, *entries_[slot]);
  return changed;
}

Status SlotTable::name(std::uint32_t slot, mt_slot row, std::shared_ptr<Origin> origin,
                       PortAddresses addresses) {
  const auto entry = find(slot);
  if (!entry || (entry->row.flags & MT_SLOT_UNKNOWN) == 0) {
    return fail(ErrorCode::invalid, "slot " + std::to_string(slot) + " has a port");
  }
  row.generation = entry->row.generation;
  const auto owner = owner_of(slot, row);
  // Nothing new comes in; what has come in is looked at then. A program that is at it counts before
  // it looks at the row (is_being_named() in lib/address.h). Until all is seen to be the port's the
  // row is nobody's, also for another process, should this one die here.
  mt_slot waiting = entry->row;
  waiting.flags &= ~MT_SLOT_LEARN;
  if (auto written = write(slot, waiting); !written) {
    return written;
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const auto met = addresses_.met(owner);
  if (!met) {
    return tl::make_unexpected(met.error());
  }
  if (!met->whole) {
    return fail(ErrorCode::conflict, "it is not known from where its guest has asked");
  }
  if (!addresses.include(met->addresses, mac_of(row), (row.flags & MT_SLOT_LEARN) != 0)) {
    return fail(ErrorCode::conflict, "its guest has asked from what is not the port's");
  }
  addresses.number(met->addresses);
  row.first_v4 = addresses.first_v4();
  auto done = addresses_.change(owner, met->addresses, addresses);
  const auto again = addresses_.met(owner);
  if (done && (!again || !again->as_many_as(*met))) {
    done = again ? fail(ErrorCode::conflict, "its guest asked from elsewhere meanwhile")
                 : tl::make_unexpected(again.error());
  }
  if (done) {
    done = write(slot, row);
  }
  if (!done) {
    (void)addresses_.change(owner, addresses, {});
    return done;
  }
  entries_[slot] =
      std::make_shared<const Entry>(Entry{std::move(origin), row, std::move(addresses)});
  callers_->name(slot, *entries_[slot]);
  return {};
}

void SlotTable::remove(std::uint32_t slot) {
  if (slot == 0 || slot >= entries_.size()) {
    return;
  }
  if (const auto entry = std::exchange(entries_[slot], nullptr)) {
    callers_->revoke(slot);
    clear(slot, entry->row.generation, entry->addresses);
  }
}

void SlotTable::rest(std::uint32_t slot) {
  allocator_.release(slot);
}

std::shared_ptr<const SlotTable::Entry> SlotTable::find(std::uint32_t slot) const {
  return slot < entries_.size() ? entries_[slot] : nullptr;
}

Result<mt_slot> SlotTable::read(std::uint32_t slot) const {
  if (maps_ == nullptr) {
    return fail(ErrorCode::unsupported, "no slot map without BPF");
  }
  const auto row = maps_->slots.get(slot);
  if (!row) {
    return tl::make_unexpected(row.error());
  }
  return row->value_or(mt_slot{});
}

std::set<std::uint32_t> SlotTable::drop_orphans(
    const std::function<bool(std::uint32_t, const mt_slot&)>& mine) {
  std::set<std::uint32_t> dropped;
  std::erase_if(orphans_, [&](const auto& orphan) {
    const auto& [slot, row] = orphan;
    if (!mine(slot, row)) {
      return false;
    }
    const auto left = inherited_.extract(owner_of(slot, row));
    clear(slot, row.generation, left ? left.mapped() : PortAddresses{});
    dropped.insert(slot);
    return true;
  });
  // Rows of addresses whose slot has gone already.
  std::erase_if(inherited_, [&](const auto& left) {
    const auto row = read(left.first.slot);
    const bool nobodys =
        row && (row->kind == MT_KIND_FREE || row->generation != left.first.generation);
    if (nobodys) {
      if (const auto gone = addresses_.change(left.first, left.second, {}); !gone) {
        log::warn("{}", gone.error().message);
      }
    }
    return nobodys;
  });
  return dropped;
}

/// The row first: an alias whose slot is free leads nowhere. Its generation stays, to be followed.
void SlotTable::clear(std::uint32_t slot, std::uint16_t generation,
                      const PortAddresses& addresses) {
  mt_slot nobody{};
  nobody.generation = generation;
  for (const auto& done :
       {write(slot, nobody), addresses_.change(owner_of(slot, nobody), addresses, {}),
        forget(owner_of(slot, nobody))}) {
    if (!done) {
      log::error("slot {} is not cleared: {}", slot, done.error().message);
    }
  }
}

/// The process before us may have died while it gave the slot to a port.
Status SlotTable::keep_met_alone(SlotOwner owner, PortAddresses& left) const {
  auto met = addresses_.met(owner);
  if (!met) {
    return tl::make_unexpected(std::move(met.error()));
  }
  auto changed = addresses_.change(owner, left, met->addresses);
  left = std::move(met->addresses);
  return changed;
}

Status SlotTable::forget(SlotOwner owner) const {
  const auto met = addresses_.met(owner);
  if (!met) {
    return tl::make_unexpected(met.error());
  }
  if (auto gone = addresses_.change(owner, met->addresses, {}); !gone) {
    return gone;
  }
  return addresses_.forget_learned(owner, is_nothing);
}

std::optional<Address> SlotTable::address_of(const Alias& alias, int family) const {
  return addresses_.address_of(alias, family);
}

void SlotTable::look_at(PortSight& sight) const {
  const auto entry = sight.slot == 0 ? nullptr : find(sight.slot);
  if (!entry) {
    return;
  }
  sight.owner = entry->origin->owner;
  sight.traffic = {sight.slot, sight.port_id, sight.device, {}, {}};
  for (const auto& own : entry->addresses.addresses) {
    sight.addresses.push_back({own.address, own.mac, own.fixed, false});
  }
  if (maps_ == nullptr) {
    return;
  }
  read_counters(*maps_, sight.traffic);
  for (const auto& [address, mac] : addresses_.learned(owner_of(sight.slot, entry->row))) {
    sight.addresses.push_back({address, mac, false, true});
  }
}

Status SlotTable::write(std::uint32_t slot, const mt_slot& row) const {
  if (maps_ == nullptr) {
    return {};
  }
  if (auto led = row.kind == MT_KIND_TAP ? maps_->taps.put(slot, row.ifindex) : Status(); !led) {
    return led;
  }
  auto written = maps_->slots.put(slot, row);
  if (written) {
    tell_owner(slot, row);
  }
  return written && row.kind == MT_KIND_FREE ? maps_->taps.erase(slot).map([](bool) {}) : written;
}

void SlotTable::tell_owner(std::uint32_t slot, const mt_slot& row) const {
  const auto told = row.kind == MT_KIND_FREE ? maps_->owners.erase(slot).map([](bool) {})
                                             : maps_->owners.put(slot, text_of(row));
  if (!told) {
    log::warn("slot {}: {}", slot, told.error().message);
  }
}

Status SlotTable::clear_counters(std::uint32_t slot) const {
  if (maps_ == nullptr) {
    return {};
  }
  if (auto written = maps_->counters.put(slot, mt_counter{}); !written) {
    return written;
  }
  if (auto written = maps_->buckets.put(slot, mt_bucket{}); !written) {
    return written;
  }
  for (std::uint32_t reason = 0; reason < MT_REASONS; ++reason) {
    if (const auto gone = maps_->slot_reasons.erase({slot, reason}); !gone) {
      return tl::make_unexpected(gone.error());
    }
  }
  return {};
}

}  // namespace metatap::dataplane
