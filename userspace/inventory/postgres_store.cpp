// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_store.hpp"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <iterator>
#include <list>
#include <mutex>
#include <optional>
#include <pqxx/pqxx>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "base/text.hpp"
#include "inventory/answer_limit.hpp"
#include "inventory/postgres_address.hpp"
#include "inventory/postgres_schema.hpp"
#include "inventory/postgres_scope.hpp"
#include "inventory/postgres_tables.hpp"
#include "inventory/reading_pace.hpp"
#include "inventory/step.hpp"

namespace metatap {

using namespace std::chrono_literals;

namespace {

constexpr auto kChannel = "metatap_inventory";
constexpr auto kRetry = std::chrono::milliseconds(500);
constexpr auto kAskAgain = std::chrono::seconds(2);  ///< a server that says nothing may be gone
constexpr std::chrono::microseconds kLook{200'000};  ///< how soon it is seen that we stop

/// libpqxx 6 would connect again by itself, without what connect() sets; 7 has no such thing.
template <class Connection>
void never_reconnect(Connection& connection) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  if constexpr (requires { connection.inhibit_reactivation(true); }) {
    connection.inhibit_reactivation(true);
  }
#pragma GCC diagnostic pop
}

std::string random_name() {
  std::array<unsigned char, 8> bytes{};
  ::RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  return hex_encoded(bytes);
}

/// One line of a server's message.
std::string first_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

class PostgresStore::Impl {
 public:
  Impl(PostgresAddress address, std::chrono::milliseconds limit, std::string host)
      : address_(std::move(address)),
        where_(address_.shown),
        host_(std::move(host)),
        me_(random_name()),
        limit_(limit),
        tables_(where_, host_) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    if (listener_.joinable()) {
      listener_.join();
    }
  }

  /// Runs `work` with a connection, and makes a Result of what the database throws. A connection
  /// that turns out to be dead is replaced once; a server that is silent for too long is not asked
  /// a second time.
  template <class F>
  auto with_database(F&& work)
      -> decltype(work(std::declval<pqxx::connection&>(), std::declval<AnswerLimit::Call&>())) {
    for (;;) {
      const bool used_before = connection_ != nullptr;
      std::optional<AnswerLimit::Call> call;
      std::string reason;
      try {
        if (!used_before) {
          connection_ = connect();
        }
        call.emplace(limit_, connection_->sock());
        if (!used_before) {
          if (auto status = prepare(*connection_); !status) {
            connection_.reset();
            set_health(false, status.error().message);
            return tl::make_unexpected(std::move(status.error()));
          }
        }
        call->heard();
        return work(*connection_, *call);
      } catch (const pqxx::in_doubt_error& error) {
        connection_.reset();  // it may have been stored: never a second time
        return fail(ErrorCode::unavailable, where_ + ": " + first_line(error.what()));
      } catch (const pqxx::sql_error& error) {
        // Disk or memory full, shutting down, lock not available: another time it may work.
        const std::string state = error.sqlstate();
        const bool passing = state.starts_with("53") || state.starts_with("57") ||
                             state.starts_with("55") || state.starts_with("40");
        if (!state.starts_with("57P")) {
          return fail(passing ? ErrorCode::unavailable : ErrorCode::internal,
                      where_ + ": " + first_line(error.what()));
        }
        reason = first_line(error.what());
      } catch (const pqxx::failure& error) {
        reason = first_line(error.what());
      }
      connection_.reset();
      const bool silent = call && call->expired();
      if (silent) {
        reason = silence();
      }
      if (silent || !used_before) {
        set_health(false, reason);
        return fail(ErrorCode::unavailable, where_ + ": " + reason);
      }
    }
  }

  /// Whether the database is one for us; makes nothing in it.
  Status check() {
    try {
      connection_ = connect();
      const AnswerLimit::Call call(limit_, connection_->sock());
      pqxx::work work(*connection_);
      return postgres::schema_version(work, where_).map([](int) {});
    } catch (const pqxx::failure& error) {
      return fail(ErrorCode::unavailable, where_ + ": " + first_line(error.what()));
    }
  }

  /// What a new connection needs; the first one makes the tables.
  Status prepare(pqxx::connection& connection) {
    if (!migrated_) {
      if (auto status = postgres::migrate(connection, where_); !status) {
        return status;
      }
      migrated_ = true;
    }
    tables_.prepare(connection);
    connection.prepare("announce", "SELECT pg_notify(name, $2) FROM unnest($1::text[]) name");
    set_health(true, "ok");
    return {};
  }

  Status load() {
    const bool first = known_revision_ == 0;  // everything is read, as the next ones will not
    const auto begin = ReadingPace::Clock::now();
    auto status =
        with_database([&](pqxx::connection& connection, AnswerLimit::Call& call) -> Status {
          pqxx::nontransaction work(connection);
          return read(work, call);
        });
    if (!first) {
      const std::lock_guard lock(mutex_);
      pace_.done(begin, ReadingPace::Clock::now());
    }
    return status;
  }

  template <class F>
  Result<InventoryChange> transact(F&& make_step) {
    return with_database(
        [&](pqxx::connection& connection, AnswerLimit::Call& call) -> Result<InventoryChange> {
          pqxx::work work(connection);
          work.exec("SELECT one FROM metatap_state FOR UPDATE");
          if (auto status = read(work, call); !status) {  // what another host wrote is the base
            return tl::make_unexpected(std::move(status.error()));
          }
          Result<Step> step = make_step([&]() -> const Ec2Ledger& {
            const auto& ledger = tables_.ledger(work, call);
            call.pause();
            return ledger;
          });
          call.heard();  // whatever becomes of the transaction is asked of the server
          if (!step) {
            return tl::make_unexpected(std::move(step.error()));
          }
          if (step->changes()) {
            announce(work, tables_.write(work, *step, call));
            work.commit();
            tables_.written(*step);
            known_revision_ = stored()->revision;
          }
          return std::move(step->change);
        });
  }

  [[nodiscard]] const std::shared_ptr<const Inventory>& stored() const { return tables_.state(); }
  [[nodiscard]] bool holds_a_part() const { return !host_.empty(); }

  void listen(std::function<void()> callback) {
    callback_ = std::move(callback);
    listener_ = std::thread([this] { follow(); });
  }

  [[nodiscard]] Health health() const {
    const std::lock_guard lock(mutex_);
    return health_;
  }

 private:
  class Receiver final : public pqxx::notification_receiver {
   public:
    Receiver(pqxx::connection& connection, const std::string& channel, const Impl& owner)
        : pqxx::notification_receiver(connection, channel), owner_(owner) {}
    void operator()(const std::string& payload, int) override {
      foreign_ = foreign_ || payload != owner_.me_;
    }
    [[nodiscard]] bool take() { return std::exchange(foreign_, false); }

   private:
    const Impl& owner_;
    bool foreign_ = false;
  };

  [[nodiscard]] std::unique_ptr<pqxx::connection> connect() {
    auto connection = std::make_unique<pqxx::connection>(address_.options);
    never_reconnect(*connection);
    const AnswerLimit::Call call(limit_, connection->sock());
    {
      pqxx::nontransaction setup(*connection);
      setup.exec("SET statement_timeout = '60s'");
      setup.exec("SET lock_timeout = '5s'");
      setup.exec("SET idle_in_transaction_session_timeout = '60s'");
      setup.exec("SET client_min_messages = warning");
    }
    return connection;
  }

  Status read(pqxx::transaction_base& work, AnswerLimit::Call& call) {
    auto status = tables_.read(work, call);
    if (status) {
      known_revision_ = stored()->revision;
      warn_of_no_port(work);
      call.heard();
    }
    return status;
  }

  /// A name that is spelt otherwise than Neutron's leaves a host with nothing.
  void warn_of_no_port(pqxx::transaction_base& work) {
    if (host_.empty() || std::exchange(looked_for_ports_, true) ||
        std::ranges::any_of(stored()->ports, [&](const auto& entry) {
          return entry.second->host == host_ || entry.second->next_host == host_;
        })) {
      return;
    }
    if (const auto others = PostgresTables::some_hosts(work); !others.empty()) {
      log::warn(
          "inventory: no port is bound to the host '{}' ([DEFAULT] host); there are ports of "
          "'{}'",
          host_, fmt::join(others, "', '"));
    } else if (!stored()->ports.empty()) {
      log::warn(
          "inventory: no port says which host it is bound to (binding:host_id), so that all "
          "are held in spite of [inventory] scope = host");
    }
  }

  void announce(pqxx::work& work, const postgres::Hosts& hosts) {
    std::vector<std::string> channels{kChannel};
    if (hosts) {
      std::ranges::transform(*hosts, std::back_inserter(channels), postgres::channel_of);
    } else {
      channels.emplace_back(postgres::kChannelOfHosts);
    }
    work.exec_prepared("announce", postgres::array_of(channels), me_);
  }

  /// The listening thread: connected as long as it can be, once there is something to compare with.
  void follow() {
    while (!stopping()) {
      try {
        if (known_revision_ != 0) {
          pqxx::connection connection(address_.options);
          never_reconnect(connection);
          follow(connection);
          return;
        }
      } catch (const std::exception& error) {
        tell(first_line(error.what()));
      }
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, kRetry, [this] { return stopping_; });
    }
  }

  /// Where commits are announced that concern us.
  [[nodiscard]] std::vector<std::string> channels() const {
    return host_.empty()
               ? std::vector<std::string>{kChannel}
               : std::vector{postgres::channel_of(host_), std::string(postgres::kChannelOfHosts)};
  }

  /// Until we stop. Whatever was announced before we listened was missed, and what was there may
  /// since be another's of the same revision: so all is looked at first. A server that is silent
  /// may be gone, and is asked for its revision every now and then.
  void follow(pqxx::connection& connection) {
    using Clock = ReadingPace::Clock;
    std::list<Receiver> receivers;
    for (const auto& channel : channels()) {
      receivers.emplace_back(connection, channel, *this);
    }
    bool news = true;
    for (Clock::time_point ask; !stopping();) {
      if (Clock::now() >= ask) {
        news = anything_new(connection) || news;
        if (set_health(true, "ok")) {
          log::info("database {}: connected again", where_);
        }
        ask = Clock::now() + kAskAgain;
      }
      if (news && begins_reading()) {
        news = false;
        callback_();
      }
      connection.await_notification(0, static_cast<long>((news ? rest() : kLook).count()));
      for (auto& receiver : receivers) {
        news = receiver.take() || news;
      }
    }
  }

  bool begins_reading() {
    const std::lock_guard lock(mutex_);
    const auto now = ReadingPace::Clock::now();
    if (now < pace_.next()) {
      return false;
    }
    pace_.asked(now);
    return true;
  }
  [[nodiscard]] std::chrono::microseconds rest() const {
    const std::lock_guard lock(mutex_);
    const auto left = pace_.next() - ReadingPace::Clock::now();
    return std::clamp(std::chrono::ceil<std::chrono::microseconds>(left), 1us, kLook);
  }

  bool anything_new(pqxx::connection& connection) {
    const AnswerLimit::Call call(limit_, connection.sock());
    try {
      pqxx::nontransaction look(connection);
      return PostgresTables::anything_new(look, known_revision_, host_);
    } catch (const pqxx::failure&) {
      if (call.expired()) {
        throw std::runtime_error(silence());
      }
      throw;
    }
  }

  [[nodiscard]] std::string silence() const {
    return fmt::format(
        "no answer within {} s",
        std::chrono::duration_cast<std::chrono::duration<double>>(limit_.limit()).count());
  }

  void tell(const std::string& reason) {
    if (set_health(false, reason)) {
      log::warn("database {}: {}; answers go on from memory", where_, reason);
    }
  }

  [[nodiscard]] bool stopping() const {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  /// Whether that is a change.
  bool set_health(bool reachable, std::string detail) {
    const std::lock_guard lock(mutex_);
    const bool changed = health_.reachable != reachable;
    health_ = {reachable, shown(), std::move(detail)};
    return changed;
  }

  /// The database, and what of it is held.
  [[nodiscard]] std::string shown() const {
    return host_.empty() ? where_ : fmt::format("{}, what host {} needs", where_, host_);
  }

  const PostgresAddress address_;
  const std::string where_;
  const std::string host_;  ///< whose part is held; empty: everything is
  const std::string me_;    ///< tells our own announcements from others'

  AnswerLimit limit_;

  // The caller's thread's.
  std::unique_ptr<pqxx::connection> connection_;
  bool migrated_ = false;
  PostgresTables tables_;
  bool looked_for_ports_ = false;

  // Of both threads.
  std::atomic<std::uint64_t> known_revision_ = 0;  ///< 0: nothing was read yet
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  Health health_{false, shown(), "not asked yet"};
  ReadingPace pace_;
  std::function<void()> callback_;
  std::thread listener_;
};

PostgresStore::PostgresStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PostgresStore::~PostgresStore() = default;

Result<std::unique_ptr<Store>> PostgresStore::open(std::string_view url,
                                                   std::chrono::milliseconds limit,
                                                   std::string host) {
  auto address = PostgresAddress::of(url, limit);
  if (!address) {
    return tl::make_unexpected(std::move(address.error()));
  }
  return std::unique_ptr<Store>(
      new PostgresStore(std::make_unique<Impl>(*std::move(address), limit, std::move(host))));
}

Status PostgresStore::check(std::string_view url, std::chrono::milliseconds limit) {
  auto address = PostgresAddress::of(url, limit);
  return address ? Impl(*std::move(address), limit, "").check()
                 : tl::make_unexpected(std::move(address.error()));
}

Result<std::shared_ptr<const Inventory>> PostgresStore::load() {
  if (auto status = impl_->load(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return impl_->stored();
}

Result<InventoryChange> PostgresStore::replace(const Inventory& wanted) {
  if (impl_->holds_a_part()) {
    return fail(ErrorCode::denied, "only what one host needs of the inventory is held here");
  }
  return impl_->transact(
      [&](const auto& ledger) { return step_replace(impl_->stored(), ledger(), wanted); });
}

Result<InventoryChange> PostgresStore::set_password(std::string_view instance_id,
                                                    std::string_view text) {
  return impl_->transact(
      [&](const auto&) { return step_set_password(impl_->stored(), instance_id, text); });
}

Result<InventoryChange> PostgresStore::clear_password(std::string_view instance_id) {
  return impl_->transact(
      [&](const auto&) { return step_clear_password(impl_->stored(), instance_id); });
}

void PostgresStore::on_foreign_change(std::function<void()> callback) {
  impl_->listen(std::move(callback));
}

Store::Health PostgresStore::health() const {
  return impl_->health();
}

}  // namespace metatap
