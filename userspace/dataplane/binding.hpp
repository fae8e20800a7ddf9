// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "dataplane/bpf_map.hpp"
#include "dataplane/slot_sockets.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// What bindings of one kind have in common: where their rows, their keys and their numbers go.
/// It outlives them.
template <class Key>
struct BindingSite {
  SlotTable& slots;
  BpfMap<Key, std::uint32_t> keys;
  SlotNumbers& retired;  ///< numbers that are nobody's, but which sockets may still bear
};

/// One identity: the slot with its row, the origin that its connections carry, and the keys by
/// which the programs find the slot. It ends in this order: keys first, so that no packet is taken
/// for it any more; then the origin is revoked and the row cleared; the number waits in `retired`
/// until its sockets are gone, and then rests. Move only; control thread.
template <class Key>
class Binding {
 public:
  Binding() = default;

  /// Takes a slot for a new owner. No key leads to it yet.
  static Result<Binding> make(const BindingSite<Key>& site, const mt_slot& row,
                              std::shared_ptr<Origin> origin, PortAddresses addresses = {}) {
    auto slot = site.slots.add(row, origin, std::move(addresses));
    if (!slot) {
      return tl::make_unexpected(std::move(slot.error()));
    }
    return Binding(site, *slot, std::move(origin));
  }
  /// Goes on with the slot that an earlier process left for the same owner. That one's keys become
  /// this binding's by lead().
  static Result<Binding> adopt(const BindingSite<Key>& site, std::uint32_t slot, const mt_slot& row,
                               std::shared_ptr<Origin> origin, PortAddresses addresses = {}) {
    if (auto adopted = site.slots.adopt(slot, row, origin, std::move(addresses)); !adopted) {
      return tl::make_unexpected(std::move(adopted.error()));
    }
    return Binding(site, slot, std::move(origin));
  }

  Binding(Binding&& other) noexcept { *this = std::move(other); }
  Binding& operator=(Binding&& other) noexcept {
    if (this != &other) {
      end();
      site_ = std::exchange(other.site_, nullptr);
      slot_ = std::exchange(other.slot_, 0);
      keys_ = std::exchange(other.keys_, {});
      origin_ = std::exchange(other.origin_, nullptr);
    }
    return *this;
  }
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;
  ~Binding() { end(); }

  /// From now on packets with that key are this identity's.
  [[nodiscard]] Status lead(const Key& key) {
    auto written = site_->keys.put(key, slot_);
    if (written) {
      keys_.push_back(key);
    }
    return written;
  }
  /// No new packet finds it; open connections stay what they are.
  void hide() {
    if (site_ != nullptr) {
      (void)take_keys();
    }
  }
  /// The same owner with other addresses or flags.
  [[nodiscard]] Status update(const mt_slot& row, PortAddresses addresses = {}) {
    return site_->slots.update(slot_, row, std::move(addresses));
  }
  /// @see SlotTable::name(). If it fails, this must end.
  [[nodiscard]] Status name(const mt_slot& row, std::shared_ptr<Origin> origin,
                            PortAddresses addresses) {
    auto named = site_->slots.name(slot_, row, origin, std::move(addresses));
    if (named) {
      origin_ = std::move(origin);
    }
    return named;
  }
  /// Leaves row and keys to the next process.
  void keep() {
    site_ = nullptr;
    origin_.reset();
    keys_.clear();
  }

  [[nodiscard]] std::uint32_t slot() const { return slot_; }
  [[nodiscard]] const std::shared_ptr<Origin>& origin() const { return origin_; }

 private:
  Binding(const BindingSite<Key>& site, std::uint32_t slot, std::shared_ptr<Origin> origin)
      : site_(&site), slot_(slot), origin_(std::move(origin)) {}

  /// True: none is left.
  [[nodiscard]] bool take_keys() {
    std::erase_if(keys_, [&](const Key& key) {
      const auto gone = site_->keys.erase(key);
      if (!gone) {
        log::error("slot {}: {}", slot_, gone.error().message);
      }
      return gone.has_value();
    });
    return keys_.empty();
  }

  void end() {
    const bool silent = site_ == nullptr || take_keys();
    if (site_ != nullptr) {
      site_->slots.remove(slot_);
      // A key that would not go still leads to the number: then that has no owner ever again.
      if (silent) {
        site_->retired.insert(slot_);
      }
    }
    site_ = nullptr;
    origin_.reset();
    slot_ = 0;
  }

  const BindingSite<Key>* site_ = nullptr;  ///< null: nothing to undo in the maps
  std::uint32_t slot_ = 0;
  std::vector<Key> keys_;
  std::shared_ptr<Origin> origin_;
};

}  // namespace metatap::dataplane
