// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/published.hpp"
#include "dataplane/port_addresses.hpp"
#include "metatap/abi/abi.h"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

/// Who is behind a slot, in memory that two processes share: the one that has the rights writes,
/// the one that reads guests' bytes can only look. A slot that changes hands is seen by both at the
/// same moment, without a message.
namespace metatap::dataplane {

/// What is known of a slot's owner.
struct SlotEntry {
  std::shared_ptr<Origin> origin;
  mt_slot row{};  ///< as the daemon wrote it; a reader has kind, generation and mac of it
  PortAddresses
      addresses;  ///< with their indices; a reader has `addresses` and `first_fixed` of it
};

struct CallerRow;

/// The mapped memory; a row for each slot and, far behind, room for the addresses that a row has no
/// room for. Only what is used costs memory.
class CallerMemory {
 public:
  /// ErrorCode::invalid: the file is too small for its slots.
  static Result<std::shared_ptr<CallerMemory>> map(int fd, std::uint32_t slots, bool writable);
  ~CallerMemory();
  CallerMemory(const CallerMemory&) = delete;
  CallerMemory& operator=(const CallerMemory&) = delete;

  [[nodiscard]] static std::size_t bytes(std::uint32_t slots);
  [[nodiscard]] std::uint32_t slots() const { return slots_; }
  [[nodiscard]] CallerRow& row(std::uint32_t slot) const;
  [[nodiscard]] std::byte* far(std::uint32_t slot) const;

 private:
  CallerMemory(void* memory, std::uint32_t slots) : memory_(memory), slots_(slots) {}
  void* memory_;
  std::uint32_t slots_;
};

/// The writing side. Control thread.
class CallerTable {
 public:
  /// Sealed: whoever gets the descriptor can map it for reading alone (Linux 5.1).
  static Result<std::shared_ptr<CallerTable>> create(std::uint32_t slots);

  /// A new owner of a slot that is nobody's: origin->slot, owner and holds are set.
  void add(std::uint32_t slot, const SlotEntry& entry);
  /// A new owner that takes over from one that is there: nobody finds it without either.
  void name(std::uint32_t slot, const SlotEntry& entry);
  /// The same owner with other addresses.
  void update(std::uint32_t slot, const SlotEntry& entry);
  /// The slot is nobody's, at once and for everybody.
  void revoke(std::uint32_t slot);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] std::uint32_t slots() const { return memory_->slots(); }

 private:
  CallerTable(UniqueFd fd, std::shared_ptr<CallerMemory> memory)
      : fd_(std::move(fd)), memory_(std::move(memory)) {}
  void write(std::uint32_t slot, const SlotEntry& entry);

  UniqueFd fd_;
  std::shared_ptr<CallerMemory> memory_;
  std::uint64_t owners_ = 0;  ///< so many there have been
};

/// The reading side. Any thread.
class CallerView {
 public:
  static Result<std::shared_ptr<CallerView>> map(int fd, std::uint32_t slots);

  /// Null: nobody's. What was read once is kept, so that a caller who is known costs two loads.
  [[nodiscard]] std::shared_ptr<const SlotEntry> find(std::uint32_t slot) const;
  /// All that are somebody's. Looks at no memory that nobody has written: a page of a shared file
  /// is there once somebody has looked at it.
  void each(const std::function<void(const SlotEntry&)>& use) const;

 private:
  struct Read {
    std::uint64_t version = 0, owner = 0;
    std::shared_ptr<const SlotEntry> entry;
  };
  CallerView(UniqueFd fd, std::shared_ptr<CallerMemory> memory)
      : fd_(std::move(fd)), memory_(std::move(memory)), known_(memory_->slots()) {}
  [[nodiscard]] std::shared_ptr<const Read> read(std::uint32_t slot) const;

  UniqueFd fd_;
  std::shared_ptr<CallerMemory> memory_;
  mutable std::vector<Published<Read>> known_;
};

}  // namespace metatap::dataplane
