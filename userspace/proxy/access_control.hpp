// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/log_limit.hpp"
#include "base/published.hpp"
#include "metatap/counters.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "proxy/access_policy.hpp"
#include "proxy/path_patterns.hpp"
#include "proxy/port_records.hpp"
#include "proxy/recent_answers.hpp"
#include "proxy/token_key_file.hpp"

namespace metatap::proxy {

struct AccessOptions {
  Access access;                       ///< [proxy] tokens, boot_window
  std::vector<std::string> sealed;     ///< [proxy] sealed
  std::vector<std::string> read_once;  ///< [proxy] read_once
  std::uint8_t token_hop_limit = 1;    ///< [proxy]; 0: tokens travel as far as anything
  /// [DEFAULT] state_path, run_path: where keys and records are; empty: in memory alone.
  std::filesystem::path key_file, records_file;
};

/// How a port stands, for whoever operates the host.
struct AccessStatus {
  Access access;
  bool required = false;  ///< tokens, now
  std::chrono::seconds window_left{0};
  std::optional<std::chrono::seconds> first_token;  ///< so long ago
  AccessCounts<> counts;
};

class AccessControl;
class PortAccess;

/// An answer on its way to a port's guest, of what is answered once. It was read when all of it has
/// been sent; if that does not come to pass, it may be asked for again.
class SingleReading {
 public:
  SingleReading(SingleReading&& other) noexcept
      : port_(std::exchange(other.port_, nullptr)),
        subject_(other.subject_),
        tenant_(other.tenant_) {}
  SingleReading& operator=(SingleReading&&) = delete;
  ~SingleReading();
  void sent();

 private:
  friend class PortAccess;
  SingleReading(PortAccess& port, std::uint64_t subject, std::uint64_t tenant)
      : port_(&port), subject_(subject), tenant_(tenant) {}

  PortAccess* port_;  ///< null: it has ended
  std::uint64_t subject_, tenant_;
};

/// What one port may do now, and what it has done. A session keeps it with its connection; a
/// request that shows no token, of a port that needs none, costs two loads and a count.
class PortAccess final : public PortNotes {
 public:
  PortAccess(AccessControl& control, const Origin& origin);

  /// What applies now.
  [[nodiscard]] Access access();
  /// How many connections it may have open; nullopt: as configured for all.
  [[nodiscard]] std::optional<unsigned> connections();
  /// Whether tokens must be shown now, also by who has none.
  [[nodiscard]] bool requires_token(const Access& access, std::int64_t now);
  [[nodiscard]] bool in_boot_window(const Access& access, std::int64_t now);
  /// A good token was shown: a ratchet turns.
  void token_shown(std::int64_t now);
  /// For whom its tokens are. `address`: of the caller, which counts where no port is known.
  [[nodiscard]] TokenHolder holder(std::string_view address);

  /// What a target asks for, as a number, if that is answered once.
  [[nodiscard]] std::optional<std::uint64_t> read_once(const Access& access,
                                                       std::string_view target);
  /// Whether it has been, and so is not answered again. Where no port is known nobody could tell
  /// who has read it.
  [[nodiscard]] bool was_read(std::uint64_t subject) const {
    return port_id_.empty() || proxy::was_read(record(), subject);
  }
  /// nullopt: another answer of it is on its way.
  [[nodiscard]] std::optional<SingleReading> begin_reading(std::uint64_t subject);
  /// Patterns of what is answered once.
  [[nodiscard]] std::shared_ptr<const PathPatterns> once() const;

  /// How many guests have had the port, as far as is known; 0: whose it is now is not.
  [[nodiscard]] std::uint32_t tenancy();
  /// Of the present tenancy.
  [[nodiscard]] RecentAnswers& recent() { return recent_; }

  [[nodiscard]] AccessStatus status();
  [[nodiscard]] AccessCounts<std::atomic<std::uint64_t>>& counts() {
    return record_.load(std::memory_order_acquire)->counts;
  }
  [[nodiscard]] const PortRecord& record() const {
    return *record_.load(std::memory_order_acquire);
  }
  [[nodiscard]] const std::string& port_id() const { return port_id_; }
  [[nodiscard]] std::uint64_t plug() const { return plug_; }

 private:
  friend class SingleReading;
  [[nodiscard]] std::uint64_t settle(std::uint64_t epoch);
  void end_reading(std::uint64_t subject, std::uint64_t tenant, bool sent);

  AccessControl& control_;
  const std::string port_id_, network_id_, place_;
  const std::uint64_t plug_;
  const std::int64_t came_;
  /// An Access and of which epoch it is, in one word: read by every request.
  std::atomic<std::uint64_t> settled_{0};
  std::atomic<unsigned> connections_{0};  ///< 0: as configured; of the same epoch or a later one
  std::atomic<std::uint32_t> tenancy_{0};
  std::atomic<PortRecord*> record_;
  RecentAnswers recent_;
  mutable std::mutex mutex_;
  std::shared_ptr<const PathPatterns> once_;
  std::vector<std::uint64_t> reading_;  ///< subjects of answers that are on their way
  std::uint64_t tenant_ = 0;            ///< whose the port was when that was last looked up
  std::uint32_t tenancies_ = 0;         ///< so many there were
  PortRecord own_;                      ///< where there is no file, or no room in it
};

/// Who may ask in which way: session tokens, the boot window and sealed paths, by port. Any thread,
/// but for what is said to be the control thread's. Outlives the ports' notes.
class AccessControl {
 public:
  explicit AccessControl(AccessOptions options);

  /// The inventory that ports are looked up in from now on. Control thread.
  void follow(std::shared_ptr<const Inventory> inventory);
  /// Every few seconds: keys come and go. Control thread.
  void look();

  /// Kept with the origin once it was found. A port is noted as soon as it is there, so that its
  /// window begins then and not with its first request.
  PortAccess& port_of(const Origin& origin);
  /// Origin::plug of the port's present device; 0: no such port has been seen, or there is none to
  /// go by.
  [[nodiscard]] std::uint64_t plug_of(const std::string& port_id) const;
  /// nullopt: no such port has been seen.
  [[nodiscard]] std::optional<AccessStatus> status_of(const std::string& port_id) const;
  /// Of all ports that have been seen, by id.
  [[nodiscard]] std::vector<std::pair<std::string, AccessStatus>> all() const;

  [[nodiscard]] std::shared_ptr<const TokenKeys> keys() const { return keys_.keys(); }
  [[nodiscard]] const PathPatterns& sealed() const { return sealed_; }
  [[nodiscard]] const AccessOptions& options() const { return options_; }

 private:
  friend class PortAccess;
  [[nodiscard]] PortRecord* record_of(std::string_view port, std::uint64_t plug,
                                      std::uint64_t tenant, std::int64_t came);

  const AccessOptions options_;
  const PathPatterns sealed_;
  const std::shared_ptr<const PathPatterns> once_;
  const std::string boot_;
  TokenKeyFile keys_;
  std::optional<PortRecords> records_;
  log::Limit no_room_;
  Published<Inventory> inventory_;
  std::atomic<std::uint32_t> epoch_{1};  ///< of what was followed

  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<PortAccess>> ports_;
};

}  // namespace metatap::proxy
