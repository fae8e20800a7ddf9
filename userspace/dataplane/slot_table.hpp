// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/address_maps.hpp"
#include "dataplane/caller_table.hpp"
#include "dataplane/port_addresses.hpp"
#include "dataplane/port_sight.hpp"
#include "dataplane/slot_allocator.hpp"
#include "metatap/abi/abi.h"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// The rows of mt_slots and what the daemon knows about each, told to the readers of `callers` as
/// it changes. Control thread. Without BPF (`--steering=listen`) there are no rows, only numbers.
class SlotTable {
 public:
  using Entry = SlotEntry;

  /// As many numbers as `callers` has rows. `maps` outlives this; null, without BPF. Numbers that a
  /// pinned map has in use are not handed out: they wait to be adopted or dropped.
  SlotTable(const Maps* maps, std::shared_ptr<CallerTable> callers,
            std::chrono::seconds quarantine);

  /// Takes a number, zeroes its counters, writes addresses and row and publishes the entry.
  /// `origin->slot` is set. The row's generation is given here, not by the caller.
  [[nodiscard]] Result<std::uint32_t> add(mt_slot row, std::shared_ptr<Origin> origin,
                                          PortAddresses addresses = {});
  /// The same, with the number that an earlier process had for this owner. ErrorCode::conflict: it
  /// is no orphan.
  [[nodiscard]] Status adopt(std::uint32_t slot, mt_slot row, std::shared_ptr<Origin> origin,
                             PortAddresses addresses = {});
  /// New addresses or flags for the same identity; writes what differs. An address that stays keeps
  /// its alias, and what was learned is kept where the new policy still admits it.
  [[nodiscard]] Status update(std::uint32_t slot, mt_slot row, PortAddresses addresses = {});
  /// The device of a slot with MT_SLOT_UNKNOWN has a port now: number, generation and aliases stay,
  /// and so its connections go on; but their origin is revoked, and who they are is asked anew.
  /// ErrorCode::conflict: not all that has come in is the port's, or something still came. Whenever
  /// it fails the slot must end.
  [[nodiscard]] Status name(std::uint32_t slot, mt_slot row, std::shared_ptr<Origin> origin,
                            PortAddresses addresses);
  /// Revokes the origin and clears the row. The number stays taken: sockets may still bear it.
  void remove(std::uint32_t slot);
  /// Sends a removed slot's number to rest, once nothing can speak for it any more.
  void rest(std::uint32_t slot);

  /// Null: nobody's.
  [[nodiscard]] std::shared_ptr<const Entry> find(std::uint32_t slot) const;
  /// The row as it is in the kernel. Any thread; one system call.
  [[nodiscard]] Result<mt_slot> read(std::uint32_t slot) const;
  /// The address behind an alias of `family`, learned or not. Any thread; one system call.
  [[nodiscard]] std::optional<Address> address_of(const Alias& alias, int family) const;
  /// Fills in what is known of the port that has `sight.slot`: owner, traffic and addresses.
  void look_at(PortSight& sight) const;
  /// Of the rows that an earlier process left and nobody adopted: clears those for which `mine` is
  /// true. Their numbers stay taken, as by remove(): sockets may still bear them.
  [[nodiscard]] std::set<std::uint32_t> drop_orphans(
      const std::function<bool(std::uint32_t slot, const mt_slot&)>& mine);

  [[nodiscard]] const CallerTable& callers() const { return *callers_; }
  [[nodiscard]] const SlotAllocator& allocator() const { return allocator_; }

 private:
  [[nodiscard]] Status write(std::uint32_t slot, const mt_slot& row) const;
  /// In mt_owners, which people read and no program does.
  void tell_owner(std::uint32_t slot, const mt_slot& row) const;
  void clear(std::uint32_t slot, std::uint16_t generation, const PortAddresses& addresses);
  /// Takes away what is left of a slot with MT_SLOT_UNKNOWN but for from where its guest has asked.
  [[nodiscard]] Status keep_met_alone(SlotOwner owner, PortAddresses& left) const;
  /// What the programs have learned of that owner.
  [[nodiscard]] Status forget(SlotOwner owner) const;
  [[nodiscard]] Status clear_counters(std::uint32_t slot) const;

  const Maps* maps_;
  std::shared_ptr<CallerTable> callers_;
  AddressMaps addresses_;
  SlotAllocator allocator_;
  std::vector<std::shared_ptr<const Entry>> entries_;
  std::map<std::uint32_t, mt_slot> orphans_;      ///< of an earlier process, not adopted yet
  std::map<SlotOwner, PortAddresses> inherited_;  ///< of an earlier process, not claimed yet
};

}  // namespace metatap::dataplane
