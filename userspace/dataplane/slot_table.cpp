// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_table.hpp"

#include <bpf/bpf.h>

#include <cstring>

#include "dataplane/programs.hpp"

namespace metatap::dataplane {

SlotTable::SlotTable(Programs* programs, std::uint32_t size, std::chrono::seconds quarantine)
    : programs_(programs), allocator_(size, quarantine, MT_TAG_LOWEST), entries_(size) {}

Result<std::uint32_t> SlotTable::add(mt_slot row, std::shared_ptr<Origin> origin,
                                     std::string first_address) {
  auto slot = allocator_.acquire();
  if (!slot) {
    return slot;
  }
  // A number that an earlier process used and nobody has claimed yet is not free.
  while (programs_ != nullptr && !entries_[*slot].load()) {
    const auto now = read(*slot);
    if (!now || now->kind == MT_KIND_FREE) {
      break;
    }
    allocator_.release(*slot);
    slot = allocator_.acquire();
    if (!slot) {
      return slot;
    }
  }
  clear_counters(*slot);
  origin->slot = *slot;
  entries_[*slot].store(
      std::make_shared<const Entry>(Entry{std::move(origin), row, std::move(first_address)}));
  if (auto written = write(*slot, row); !written) {
    remove(*slot);
    rest(*slot);
    return tl::make_unexpected(std::move(written.error()));
  }
  return slot;
}

Status SlotTable::adopt(std::uint32_t slot, mt_slot row, std::shared_ptr<Origin> origin,
                        std::string first_address) {
  if (auto taken = allocator_.adopt(slot); !taken) {
    return taken;
  }
  origin->slot = slot;
  entries_[slot].store(std::make_shared<const Entry>(Entry{std::move(origin), row, first_address}));
  return update(slot, row, std::move(first_address));
}

Status SlotTable::update(std::uint32_t slot, mt_slot row, std::string first_address) {
  const auto entry = find(slot);
  if (!entry) {
    return fail(ErrorCode::not_found, "slot " + std::to_string(slot) + " is nobody's");
  }
  if (const auto now = read(slot); now && now->kind == row.kind) {
    // MACs stay with the addresses they were seen for.
    for (std::size_t i = 0; i < MT_V4_MAX; ++i) {
      if (now->v4[i] == row.v4[i]) {
        std::memcpy(row.v4_mac[i], now->v4_mac[i], sizeof(row.v4_mac[i]));
      }
    }
    std::memcpy(row.v6_mac[0], now->v6_mac[0], sizeof(row.v6_mac[0]));
    for (std::size_t i = 0; i < MT_V6_MAX; ++i) {
      if (std::memcmp(now->v6[i], row.v6[i], sizeof(row.v6[i])) == 0) {
        std::memcpy(row.v6_mac[i + 1], now->v6_mac[i + 1], sizeof(row.v6_mac[i + 1]));
      }
    }
    if ((row.flags & now->flags & MT_SLOT_LEARN) != 0) {
      for (std::size_t i = row.v4_count; i < MT_V4_MAX; ++i) {
        row.v4[i] = now->v4[i];
        std::memcpy(row.v4_mac[i], now->v4_mac[i], sizeof(row.v4_mac[i]));
      }
      for (std::size_t i = row.v6_count; i < MT_V6_MAX; ++i) {
        std::memcpy(row.v6[i], now->v6[i], sizeof(row.v6[i]));
        std::memcpy(row.v6_mac[i + 1], now->v6_mac[i + 1], sizeof(row.v6_mac[i + 1]));
      }
      row.v4_count = std::max(row.v4_count, now->v4_count);
      row.v6_count = std::max(row.v6_count, now->v6_count);
    }
  }
  entries_[slot].store(
      std::make_shared<const Entry>(Entry{entry->origin, row, std::move(first_address)}));
  return write(slot, row);
}

void SlotTable::remove(std::uint32_t slot) {
  if (slot == 0 || slot >= entries_.size()) {
    return;
  }
  if (const auto entry = entries_[slot].exchange(nullptr)) {
    entry->origin->revoked.store(true);
    (void)write(slot, mt_slot{});
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
    if (mine(row) && allocator_.adopt(slot)) {
      (void)write(slot, mt_slot{});
      allocator_.release(slot);
    }
  }
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
