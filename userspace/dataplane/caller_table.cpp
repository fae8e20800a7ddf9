// SPDX-License-Identifier: Apache-2.0
#include "dataplane/caller_table.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "base/boot_time.hpp"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace metatap::dataplane {
namespace {

using Word = std::uint64_t;

/// An address of a port, by which its alias is known.
struct Own {
  std::uint8_t family;  ///< MT_FAMILY_V4, MT_FAMILY_V6; 0: no address
  std::uint8_t index;
  std::uint8_t fixed;
  std::uint8_t pad[5];
  std::array<std::uint8_t, 16> bytes;
};
static_assert(sizeof(Own) == 24);

constexpr std::size_t kNear = 8;  ///< addresses that are in the row itself
constexpr std::size_t kMost = std::size_t{2} * MT_FIRST_LEARNED;
constexpr std::size_t kFarBytes = (kMost - kNear) * sizeof(Own);
constexpr std::size_t kFarStride = (kFarBytes + 4095) & ~std::size_t{4095};
/// A writer is done in some microseconds, or it has died in the middle.
constexpr int kLooks = 10'000;

}  // namespace

/// What a reader copies, word by word, while the writer may be at it.
struct CallerFacts {
  std::uint64_t owner;
  std::uint64_t plug;
  std::int64_t came;
  std::uint8_t kind, path;
  std::uint16_t generation;
  std::uint32_t addresses;
  std::uint8_t mac[8];
  char device[MT_DEVICE_LEN];
  char port_id[MT_ID_LEN], network_id[MT_ID_LEN], router_id[MT_ID_LEN];
  Own first_fixed;
  Own near[kNear];
};

/// `version` is odd while it is written (a sequence lock); `owner` is 0 while it is nobody's.
struct alignas(64) CallerRow {
  Ownership owner;
  std::atomic<std::uint64_t> version;
  CallerFacts facts;
};
static_assert(sizeof(CallerFacts) % sizeof(Word) == 0);

namespace {

/// Plain copies would be races; a word at a time is what the processor does anyway.
void copy_words(void* to, const void* from, std::size_t bytes) {
  auto* out = static_cast<Word*>(to);
  const auto* in = static_cast<const Word*>(from);
  for (std::size_t i = 0; i < bytes / sizeof(Word); ++i) {
    __atomic_store_n(&out[i], __atomic_load_n(&in[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
  }
}

template <std::size_t N>
void put(char (&to)[N], std::string_view text) {
  std::copy_n(text.data(), std::min(text.size(), N - 1), to);
}

template <std::size_t N>
std::string text_of(const char (&text)[N]) {
  return {text, ::strnlen(text, N)};
}

Own own_of(const Address& address, std::uint32_t index, bool fixed) {
  return {static_cast<std::uint8_t>(address.v4() ? MT_FAMILY_V4 : MT_FAMILY_V6),
          static_cast<std::uint8_t>(index),
          static_cast<std::uint8_t>(fixed ? 1 : 0),
          {},
          address.bytes};
}

Address address_of(const Own& own) {
  return {own.family == MT_FAMILY_V4 ? AF_INET : AF_INET6, own.bytes};
}

SlotEntry entry_of(const CallerFacts& facts, std::uint32_t slot, std::span<const Own> addresses) {
  SlotEntry entry;
  entry.origin = std::make_shared<Origin>();
  entry.origin->path = static_cast<Path>(facts.path);
  entry.origin->port_id = text_of(facts.port_id);
  entry.origin->network_id = text_of(facts.network_id);
  entry.origin->router_id = text_of(facts.router_id);
  entry.origin->device = text_of(facts.device);
  entry.origin->slot = slot;
  entry.origin->owner = facts.owner;
  entry.origin->plug = facts.plug;
  entry.origin->came = facts.came;
  entry.row.kind = facts.kind;
  entry.row.generation = facts.generation;
  std::ranges::copy_n(facts.mac, sizeof(entry.row.mac), entry.row.mac);
  if (facts.first_fixed.family != 0) {
    entry.addresses.first_fixed = address_of(facts.first_fixed).text();
  }
  for (const auto& own : addresses) {
    entry.addresses.addresses.push_back({address_of(own), {}, own.fixed != 0, own.index});
  }
  return entry;
}

}  // namespace

// ---- memory ----

std::size_t CallerMemory::bytes(std::uint32_t slots) {
  return std::size_t{slots} * (sizeof(CallerRow) + kFarStride);
}

Result<std::shared_ptr<CallerMemory>> CallerMemory::map(int fd, std::uint32_t slots,
                                                        bool writable) {
  constexpr auto kStep = "map the table of callers";
  struct stat file{};
  if (::fstat(fd, &file) != 0) {
    return fail_errno(errno, kStep);
  }
  if (slots == 0 || static_cast<std::size_t>(file.st_size) < bytes(slots)) {
    return fail(ErrorCode::invalid, "the table of callers is too small for its slots");
  }
  void* memory = ::mmap(nullptr, bytes(slots), writable ? PROT_READ | PROT_WRITE : PROT_READ,
                        MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    return fail_errno(errno, kStep);
  }
  return std::shared_ptr<CallerMemory>(new CallerMemory(memory, slots));
}

CallerMemory::~CallerMemory() {
  ::munmap(memory_, bytes(slots_));
}

CallerRow& CallerMemory::row(std::uint32_t slot) const {
  return static_cast<CallerRow*>(memory_)[slot];
}

std::byte* CallerMemory::far(std::uint32_t slot) const {
  return static_cast<std::byte*>(memory_) + std::size_t{slots_} * sizeof(CallerRow) +
         std::size_t{slot} * kFarStride;
}

// ---- writing ----

Result<std::shared_ptr<CallerTable>> CallerTable::create(std::uint32_t slots) {
  constexpr auto kStep = "make the table of callers";
  UniqueFd fd(::memfd_create("metatap-callers", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), static_cast<off_t>(CallerMemory::bytes(slots))) != 0) {
    return fail_errno(errno, kStep);
  }
  auto memory = CallerMemory::map(fd.get(), slots, true);
  if (!memory) {
    return tl::make_unexpected(std::move(memory.error()));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS,
              F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return fail_errno(errno, kStep);
  }
  return std::shared_ptr<CallerTable>(new CallerTable(std::move(fd), *std::move(memory)));
}

void CallerTable::add(std::uint32_t slot, const SlotEntry& entry) {
  revoke(slot);
  name(slot, entry);
}

void CallerTable::name(std::uint32_t slot, const SlotEntry& entry) {
  auto& origin = *entry.origin;
  origin.slot = slot;
  origin.owner = ++owners_;
  origin.came = boot_time();
  auto& row = memory_->row(slot);
  origin.holds = std::shared_ptr<const Ownership>(memory_, &row.owner);
  write(slot, entry);
  row.owner.store(origin.owner, std::memory_order_release);
}

void CallerTable::update(std::uint32_t slot, const SlotEntry& entry) {
  write(slot, entry);
}

void CallerTable::revoke(std::uint32_t slot) {
  memory_->row(slot).owner.store(0, std::memory_order_release);
}

void CallerTable::write(std::uint32_t slot, const SlotEntry& entry) {
  CallerFacts facts{};
  const auto& origin = *entry.origin;
  facts.owner = origin.owner;
  facts.plug = origin.plug;
  facts.came = origin.came;
  facts.kind = static_cast<std::uint8_t>(entry.row.kind);
  facts.path = static_cast<std::uint8_t>(origin.path);
  facts.generation = entry.row.generation;
  std::ranges::copy(entry.row.mac, facts.mac);
  put(facts.device, origin.device);
  put(facts.port_id, origin.port_id);
  put(facts.network_id, origin.network_id);
  put(facts.router_id, origin.router_id);
  if (const auto first = Address::parse(entry.addresses.first_fixed)) {
    facts.first_fixed = own_of(*first, 0, true);
  }
  std::vector<Own> far;
  for (const auto& own : entry.addresses.addresses) {
    if (facts.addresses == kMost) {
      break;  // there are no more indices
    }
    const auto written = own_of(own.address, own.index, own.fixed);
    if (facts.addresses < kNear) {
      facts.near[facts.addresses] = written;
    } else {
      far.push_back(written);
    }
    ++facts.addresses;
  }
  auto& row = memory_->row(slot);
  const auto version = row.version.load(std::memory_order_relaxed);
  row.version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  copy_words(&row.facts, &facts, sizeof(facts));
  copy_words(memory_->far(slot), far.data(), far.size() * sizeof(Own));
  row.version.store(version + 2, std::memory_order_release);
}

// ---- reading ----

namespace {

/// The first row that begins there or behind: whose owner is, that is.
std::uint32_t first_row_from(off_t offset) {
  return static_cast<std::uint32_t>((static_cast<std::size_t>(offset) + sizeof(CallerRow) - 1) /
                                    sizeof(CallerRow));
}

}  // namespace

void CallerView::each(const std::function<void(const SlotEntry&)>& use) const {
  const auto end = static_cast<off_t>(memory_->slots() * sizeof(CallerRow));
  off_t from = ::lseek(fd_.get(), 0, SEEK_DATA);
  while (from >= 0 && from < end) {
    const off_t hole = ::lseek(fd_.get(), from, SEEK_HOLE);
    const off_t to = hole < 0 ? end : std::min(hole, end);
    for (auto slot = first_row_from(from); slot < first_row_from(to); ++slot) {
      if (const auto entry = find(slot)) {
        use(*entry);
      }
    }
    from = ::lseek(fd_.get(), to, SEEK_DATA);
  }
}

Result<std::shared_ptr<CallerView>> CallerView::map(int fd, std::uint32_t slots) {
  auto memory = CallerMemory::map(fd, slots, false);
  if (!memory) {
    return tl::make_unexpected(std::move(memory.error()));
  }
  UniqueFd ours(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!ours) {
    return fail_errno(errno, "keep the table of callers");
  }
  return std::shared_ptr<CallerView>(new CallerView(std::move(ours), *std::move(memory)));
}

std::shared_ptr<const SlotEntry> CallerView::find(std::uint32_t slot) const {
  if (slot >= memory_->slots()) {
    return nullptr;
  }
  const auto& row = memory_->row(slot);
  const auto owner = row.owner.load(std::memory_order_acquire);
  if (owner == 0) {
    return nullptr;
  }
  auto known = known_[slot].get();
  if (!known || known->version != row.version.load(std::memory_order_acquire)) {
    known = read(slot);
    if (!known) {
      return nullptr;
    }
    known_[slot].set(known);
  }
  if (known->owner == owner) {
    return known->entry;
  }
  // It has just been named: what is read is the next owner's, who has it a store later.
  for (int look = 0; look < kLooks; ++look) {
    const auto now = row.owner.load(std::memory_order_acquire);
    if (now == known->owner) {
      return known->entry;
    }
    if (now != owner) {
      break;
    }
  }
  return nullptr;
}

std::shared_ptr<const CallerView::Read> CallerView::read(std::uint32_t slot) const {
  const auto& row = memory_->row(slot);
  CallerFacts facts{};
  std::vector<Own> addresses;
  for (int look = 0; look < kLooks; ++look) {
    const auto version = row.version.load(std::memory_order_acquire);
    if (version % 2 != 0) {
      continue;
    }
    copy_words(&facts, &row.facts, sizeof(facts));
    const std::size_t count = std::min<std::size_t>(facts.addresses, kMost);
    addresses.resize(count);
    std::copy_n(facts.near, std::min(count, kNear), addresses.begin());
    if (count > kNear) {
      copy_words(&addresses[kNear], memory_->far(slot), (count - kNear) * sizeof(Own));
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (row.version.load(std::memory_order_relaxed) == version) {
      auto entry = entry_of(facts, slot, addresses);
      entry.origin->holds = std::shared_ptr<const Ownership>(memory_, &row.owner);
      return std::make_shared<const Read>(
          Read{version, facts.owner, std::make_shared<const SlotEntry>(std::move(entry))});
    }
  }
  return nullptr;
}

}  // namespace metatap::dataplane
