// SPDX-License-Identifier: Apache-2.0
#include "proxy/access_control.hpp"

#include <algorithm>
#include <utility>

#include "base/boot_time.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace metatap::proxy {
namespace {

using std::chrono::seconds;

/// An Access in a word, below the epoch it is of.
constexpr unsigned kOnceBit = 1, kTokensBit = 2, kWindowBit = 4, kEpochBit = 36;
constexpr std::uint64_t kEpochMask = (std::uint64_t{1} << (64 - kEpochBit)) - 1;

std::uint64_t packed(const Access& access, std::uint64_t epoch) {
  return std::uint64_t{access.sealed} | std::uint64_t{access.once} << kOnceBit |
         static_cast<std::uint64_t>(access.tokens) << kTokensBit |
         static_cast<std::uint64_t>(static_cast<std::uint32_t>(access.boot_window.count()))
             << kWindowBit |
         epoch << kEpochBit;
}
Access unpacked(std::uint64_t word) {
  return {static_cast<TokenMode>(word >> kTokensBit & 3U),
          seconds(static_cast<std::uint32_t>(word >> kWindowBit)), (word & 1U) != 0,
          (word >> kOnceBit & 1U) != 0};
}
static_assert(static_cast<unsigned>(TokenMode::ratchet) <= 3);

/// Where there is no port: one for all addresses of its network or router.
std::string place_of(const Origin& origin) {
  return "/" + (origin.network_id.empty() ? origin.router_id : origin.network_id);
}

}  // namespace

// ---- one port ----

PortAccess::PortAccess(AccessControl& control, const Origin& origin)
    : control_(control),
      port_id_(origin.port_id),
      network_id_(origin.network_id),
      place_(place_of(origin)),
      plug_(origin.plug),
      came_(origin.came != 0 ? origin.came : boot_time()),
      record_(&own_),
      once_(control.once_),
      own_{} {
  begin(own_, port_id_, plug_, 0, came_);
}

Access PortAccess::access() {
  const auto epoch = control_.epoch_.load(std::memory_order_relaxed) & kEpochMask;
  const auto word = settled_.load(std::memory_order_acquire);
  return unpacked(word >> kEpochBit == epoch ? word : settle(epoch));
}

std::optional<unsigned> PortAccess::connections() {
  static_cast<void>(access());
  const auto connections = connections_.load(std::memory_order_relaxed);
  return connections == 0 ? std::nullopt : std::optional(connections);
}

std::uint32_t PortAccess::tenancy() {
  static_cast<void>(access());
  return tenancy_.load(std::memory_order_acquire);
}

/// The inventory is another than when this was last settled, and so may be whose the port is.
std::uint64_t PortAccess::settle(std::uint64_t epoch) {
  const std::lock_guard lock(mutex_);
  const auto inventory = control_.inventory_.get();
  const auto tenant = port_id_.empty() ? 0 : tenant_of(*inventory, port_id_);
  auto* record = record_.load(std::memory_order_relaxed);
  if (!port_id_.empty()) {
    auto* const kept = control_.record_of(port_id_, plug_, tenant, came_);
    record = kept == nullptr ? &own_ : kept;
  }
  if (record == &own_ && !goes_on(own_, plug_, tenant)) {
    begin(own_, port_id_, plug_, tenant, boot_time());
  } else if (record == &own_ && tenant != 0) {
    own_.tenant = tenant;
  }
  record_.store(record, std::memory_order_release);
  if (tenant != std::exchange(tenant_, tenant)) {
    const std::uint32_t tenancy = tenant == 0 ? 0 : ++tenancies_;
    recent_.begin(tenancy);
    tenancy_.store(tenancy, std::memory_order_release);
  }
  const auto* const once = read_once_of(*inventory, port_id_, network_id_);
  if (once == nullptr) {
    once_ = control_.once_;
  } else if (once_->given() != *once) {
    once_ = std::make_shared<const PathPatterns>(*once);
  }
  connections_.store(connections_of(*inventory, port_id_, network_id_).value_or(0),
                     std::memory_order_relaxed);
  const auto word =
      packed(access_of(control_.options_.access, *inventory, port_id_, network_id_), epoch);
  settled_.store(word, std::memory_order_release);
  return word;
}

bool PortAccess::in_boot_window(const Access& access, std::int64_t now) {
  using std::chrono::milliseconds;
  return !port_id_.empty() &&
         milliseconds(now - record().came.load(std::memory_order_relaxed)) < access.boot_window;
}

bool PortAccess::requires_token(const Access& access, std::int64_t now) {
  switch (access.tokens) {
    case TokenMode::off:
    case TokenMode::optional:
      return false;
    case TokenMode::required:
      return true;
    case TokenMode::ratchet:
      break;
  }
  return record().first_token.load(std::memory_order_relaxed) != 0 || !in_boot_window(access, now);
}

void PortAccess::token_shown(std::int64_t now) {
  auto& first = record_.load(std::memory_order_acquire)->first_token;
  std::int64_t never = 0;
  if (first.load(std::memory_order_relaxed) == 0) {
    first.compare_exchange_strong(never, now);
  }
}

std::shared_ptr<const PathPatterns> PortAccess::once() const {
  const std::lock_guard lock(mutex_);
  return once_;
}

std::optional<std::uint64_t> PortAccess::read_once(const Access& access, std::string_view target) {
  if (!access.once || !once()->cover(target)) {
    return std::nullopt;
  }
  return number_of(subject_of(target));
}

std::optional<SingleReading> PortAccess::begin_reading(std::uint64_t subject) {
  const std::lock_guard lock(mutex_);
  if (was_read(subject) || std::ranges::find(reading_, subject) != reading_.end()) {
    return std::nullopt;
  }
  reading_.push_back(subject);
  return SingleReading(*this, subject, record().tenant);
}

void PortAccess::end_reading(std::uint64_t subject, std::uint64_t tenant, bool sent) {
  const std::lock_guard lock(mutex_);
  auto& record = *record_.load(std::memory_order_acquire);
  if (sent && goes_on(record, plug_, tenant)) {  // else the next guest has not read it
    note_read(record, subject);
  }
  std::erase(reading_, subject);
}

SingleReading::~SingleReading() {
  if (port_ != nullptr) {
    port_->end_reading(subject_, tenant_, false);
  }
}

void SingleReading::sent() {
  std::exchange(port_, nullptr)->end_reading(subject_, tenant_, true);
}

TokenHolder PortAccess::holder(std::string_view address) {
  if (port_id_.empty()) {
    return {place_ + '/' + std::string(address), plug_, 0};
  }
  return {port_id_, plug_, record().tenant};
}

AccessStatus PortAccess::status() {
  const auto now = boot_time();
  AccessStatus status;
  status.access = access();
  const auto since = [now](std::int64_t then) {
    return std::chrono::duration_cast<seconds>(std::chrono::milliseconds(now - then));
  };
  status.required = requires_token(status.access, now);
  status.window_left = std::max(status.access.boot_window - since(record().came), seconds(0));
  if (const auto first = record().first_token.load(); first != 0) {
    status.first_token = since(first);
  }
  status.counts += counts();
  return status;
}

// ---- all of them ----

AccessControl::AccessControl(AccessOptions options)
    : options_(std::move(options)),
      sealed_(options_.sealed),
      once_(std::make_shared<const PathPatterns>(options_.read_once)),
      boot_(this_boot()),
      keys_(options_.key_file, boot_),
      inventory_(std::make_shared<const Inventory>()) {
  if (!options_.records_file.empty()) {
    if (auto opened = PortRecords::open(options_.records_file, boot_)) {
      records_.emplace(*std::move(opened));
    } else {
      log::error("windows and ratchets end with this process: {}", opened.error().message);
    }
  }
  look();
}

void AccessControl::follow(std::shared_ptr<const Inventory> inventory) {
  inventory_.set(std::move(inventory));
  epoch_.fetch_add(1, std::memory_order_release);
}

void AccessControl::look() {
  keys_.look(boot_time());
  // Ports that have gone: nobody but us has them any more.
  const auto inventory = inventory_.get();
  const std::lock_guard lock(mutex_);
  std::erase_if(ports_, [&](const auto& port) {
    return port.second.use_count() == 1 && !inventory->ports.contains(port.first);
  });
}

PortAccess& AccessControl::port_of(const Origin& origin) {
  if (auto* const kept = origin.notes.get()) {
    return static_cast<PortAccess&>(*kept);
  }
  const std::lock_guard lock(mutex_);
  auto& known = ports_[origin.port_id.empty() ? place_of(origin) : origin.port_id];
  auto port = known;
  if (!port || port->plug() != origin.plug) {
    port = std::make_shared<PortAccess>(*this, origin);
    if (!known || !origin.revoked()) {  // else a late connection of whom the port had before
      known = port;
    }
  }
  origin.notes.set(port);
  static_cast<void>(port->access());
  return *port;
}

PortRecord* AccessControl::record_of(std::string_view port, std::uint64_t plug,
                                     std::uint64_t tenant, std::int64_t came) {
  if (!records_) {
    return nullptr;
  }
  auto* const record =
      records_->at(port, plug, tenant, came, [ports = inventory_.get()](std::string_view id) {
        return ports->ports.contains(std::string(id));
      });
  if (record == nullptr) {
    no_room_.warn(
        "there is no room to remember port {}: its window and ratchet end with this "
        "process",
        port);
  }
  return record;
}

std::uint64_t AccessControl::plug_of(const std::string& port_id) const {
  const std::lock_guard lock(mutex_);
  const auto found = ports_.find(port_id);
  return found == ports_.end() ? 0 : found->second->plug();
}

std::optional<AccessStatus> AccessControl::status_of(const std::string& port_id) const {
  std::shared_ptr<PortAccess> port;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = ports_.find(port_id); found != ports_.end()) {
      port = found->second;
    }
  }
  if (!port) {
    return std::nullopt;
  }
  return port->status();
}

std::vector<std::pair<std::string, AccessStatus>> AccessControl::all() const {
  std::vector<std::shared_ptr<PortAccess>> ports;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, port] : ports_) {
      if (!port->port_id().empty()) {
        ports.push_back(port);
      }
    }
  }
  std::vector<std::pair<std::string, AccessStatus>> statuses;
  for (const auto& port : ports) {
    statuses.emplace_back(port->port_id(), port->status());
  }
  return statuses;
}

}  // namespace metatap::proxy
