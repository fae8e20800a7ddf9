// SPDX-License-Identifier: Apache-2.0
#include "agent/port_memory.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/duration_text.hpp"
#include "base/log.hpp"
#include "inventory/row.hpp"
#include "inventory/snapshot.hpp"

namespace metatap::agent {
namespace {

using namespace std::chrono_literals;

constexpr auto kConfirmEvery = 30s;  ///< how much older than it is the file may say it is

std::int64_t now() {
  return seconds_of(std::chrono::system_clock::now());
}

}  // namespace

/// With the thread that writes.
struct PortMemory::Shared {
  Shared(std::filesystem::path file, std::string source)
      : snapshot(std::move(file), source, source) {}

  KeptSnapshot snapshot;
  std::mutex mutex;
  std::shared_ptr<const Inventory> next;  ///< to be written; null: that was done
};

PortMemory::PortMemory(std::filesystem::path file, std::string source)
    : shared_(std::make_shared<Shared>(std::move(file), std::move(source))) {}
PortMemory::~PortMemory() = default;

std::shared_ptr<const Inventory> PortMemory::recall() {
  auto found = shared_->snapshot.read();
  if (!found) {
    if (found.error().code != ErrorCode::not_found) {
      log::error("the ports that were known last: {}", found.error().message);
    }
    return std::make_shared<const Inventory>();
  }
  as_of_ = written_at_ = found->as_of;
  kept_ = std::move(found->inventory);
  return kept_;
}

void PortMemory::keep(std::shared_ptr<const Inventory> ports) {
  as_of_ = now();
  kept_ = std::move(ports);
  write();
}

void PortMemory::confirm() {
  as_of_ = now();
  if (kept_ && as_of_ - written_at_ >= kConfirmEvery.count()) {
    write();
  }
}

/// What is newer by the time the thread comes to it is written instead.
void PortMemory::write() {
  written_at_ = as_of_;
  const std::lock_guard lock(shared_->mutex);
  if (!std::exchange(shared_->next, kept_)) {
    thread_.run([shared = shared_] {
      std::shared_ptr<const Inventory> ports;
      {
        const std::lock_guard taking(shared->mutex);
        ports.swap(shared->next);
      }
      shared->snapshot.keep(std::move(ports));
    });
  }
}

std::chrono::seconds PortMemory::age() const {
  return std::chrono::seconds(as_of_ == 0 ? 0 : std::max<std::int64_t>(0, now() - as_of_));
}

bool can_be_kept(const Port& port) {
  const auto nothing = std::make_shared<const Inventory>();
  auto with_it = std::make_shared<Inventory>();
  with_it->ports[port.id] = std::make_shared<const Port>(port);
  InventoryChange change;
  change.before = nothing;
  change.after = std::move(with_it);
  change.ports = {port.id};
  Inventory again;
  const auto rows = rows_of(change);
  return std::ranges::all_of(rows.put, [&](const Row& row) {
    return add_row(again, row.kind, row.body, row.network_info, row.place).has_value();
  });
}

}  // namespace metatap::agent
