// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_store.hpp"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <pqxx/pqxx>
#include <stdexcept>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "inventory/answer_limit.hpp"
#include "inventory/postgres_address.hpp"
#include "inventory/row.hpp"
#include "inventory/step.hpp"

namespace metatap {
namespace {

constexpr auto kChannel = "metatap_inventory";
constexpr auto kRetry = std::chrono::milliseconds(500);
constexpr auto kAskAgain = std::chrono::seconds(2);  ///< a server that says nothing may be gone
constexpr std::int64_t kMigrationLock = 0x6d746170;  // "mtap": one host at a time migrates

// The schema, one step for each version of it. A step, once released, is never edited.
constexpr std::array kMigrations{
    R"(CREATE TABLE metatap_state (
         one integer PRIMARY KEY CHECK (one = 1),
         schema integer NOT NULL,
         revision bigint NOT NULL);
       INSERT INTO metatap_state VALUES (1, 0, 1);
       CREATE TABLE metatap_object (
         kind text NOT NULL,
         id text NOT NULL,
         body text NOT NULL,
         network_info text,
         PRIMARY KEY (kind, id));
       CREATE TABLE metatap_ec2_id (
         space integer NOT NULL,
         number bigint NOT NULL,
         uuid text NOT NULL,
         PRIMARY KEY (space, number),
         UNIQUE (space, uuid));)",
    "ALTER TABLE metatap_object ADD COLUMN place bigint;",
};
constexpr int kNewest = static_cast<int>(kMigrations.size());

/// Tables and the like that neither PostgreSQL nor one of its extensions has made; ours begin
/// alike.
constexpr auto kForeignTable = R"(
    SELECT c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname <> 'information_schema'
      AND n.nspname !~ '^pg_' AND c.relname !~ '^metatap_'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                        AND d.deptype = 'e')
    ORDER BY 1 LIMIT 1)";

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
  Impl(PostgresAddress address, std::chrono::milliseconds limit)
      : address_(std::move(address)), where_(address_.shown), me_(random_name()), limit_(limit) {}

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
      return schema(work).map([](int) {});
    } catch (const pqxx::failure& error) {
      return fail(ErrorCode::unavailable, where_ + ": " + first_line(error.what()));
    }
  }

  /// What a new connection needs; the first one makes the tables.
  Status prepare(pqxx::connection& connection) {
    if (!migrated_) {
      if (auto status = migrate(connection); !status) {
        return status;
      }
      migrated_ = true;
    }
    connection.prepare("put",
                       "INSERT INTO metatap_object (kind, id, body, network_info, place) "
                       "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, id) DO UPDATE SET "
                       "body = EXCLUDED.body, network_info = EXCLUDED.network_info, "
                       "place = EXCLUDED.place");
    connection.prepare("erase", "DELETE FROM metatap_object WHERE kind = $1 AND id = $2");
    connection.prepare("number", "INSERT INTO metatap_ec2_id VALUES ($1, $2, $3)");
    set_health(true, "ok");
    return {};
  }

  Status migrate(pqxx::connection& connection) {
    pqxx::work work(connection);
    work.exec(fmt::format("SELECT pg_advisory_xact_lock({})", kMigrationLock));
    auto version = schema(work);
    if (!version) {
      return tl::make_unexpected(std::move(version.error()));
    }
    for (; *version < kNewest; ++*version) {
      work.exec(kMigrations.at(static_cast<std::size_t>(*version)));
      work.exec(fmt::format("UPDATE metatap_state SET schema = {}", *version + 1));
    }
    work.commit();
    return {};
  }

  /// Of our tables; 0: there are none yet, and nobody else's.
  Result<int> schema(pqxx::work& work) {
    int version = 0;
    if (!work.exec("SELECT to_regclass('metatap_state')")[0][0].is_null()) {
      version = work.exec("SELECT schema FROM metatap_state")[0][0].as<int>();
    } else if (const auto foreign = work.exec(kForeignTable); !foreign.empty()) {
      return fail(ErrorCode::invalid,
                  fmt::format("{}: it belongs to another program (there is {}); metatap needs a "
                              "database of its own",
                              where_, foreign[0][0].as<std::string>()));
    }
    if (version > kNewest) {
      return fail(ErrorCode::unsupported,
                  fmt::format("{}: its schema {} is newer than this program's {}; it was left as "
                              "it is. Use the newer metatapd, or another database",
                              where_, version, kNewest));
    }
    return version;
  }

  Status load() {
    return with_database([&](pqxx::connection& connection, AnswerLimit::Call& call) -> Status {
      pqxx::work work(connection);
      // One statement could not read both tables; the lock keeps writers out in between.
      const auto revision = work.exec("SELECT revision FROM metatap_state FOR SHARE");
      return read(work, revision[0][0].as<std::uint64_t>(), call);
    });
  }

  template <class F>
  Result<InventoryChange> transact(F&& make_step) {
    return with_database(
        [&](pqxx::connection& connection, AnswerLimit::Call& call) -> Result<InventoryChange> {
          pqxx::work work(connection);
          const auto row = work.exec("SELECT revision FROM metatap_state FOR UPDATE");
          const auto revision = row[0][0].as<std::uint64_t>();
          if (revision != stored_->revision) {  // another host wrote; its state is the base
            if (auto status = read(work, revision, call); !status) {
              return tl::make_unexpected(std::move(status.error()));
            }
          }
          call.pause();
          Result<Step> step = make_step(std::as_const(stored_), std::as_const(ledger_));
          call.heard();  // whatever becomes of the transaction is asked of the server
          if (!step) {
            return tl::make_unexpected(std::move(step.error()));
          }
          if (step->changes()) {
            write(work, *step, call);
            work.commit();
            for (const auto& entry : step->ec2) {
              ledger_.add(entry);
            }
            stored_ = step->change.after;
            known_revision_ = stored_->revision;
          }
          return std::move(step->change);
        });
  }

  [[nodiscard]] const std::shared_ptr<const Inventory>& stored() const { return stored_; }

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
    Receiver(pqxx::connection& connection, const Impl& owner)
        : pqxx::notification_receiver(connection, kChannel), owner_(owner) {}
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

  Status read(pqxx::work& work, std::uint64_t revision, AnswerLimit::Call& call) {
    Inventory inventory;
    Ec2Ledger ledger;
    inventory.revision = revision;
    const auto view = [](const pqxx::field& field) {
      return std::string_view(field.c_str(), field.size());
    };
    call.heard();
    const auto rows = work.exec(
        "SELECT kind, body, network_info, place FROM metatap_object "
        "ORDER BY kind, id COLLATE \"C\"");
    call.pause();
    for (const auto& row : rows) {
      const auto added =
          add_row(inventory, view(row[0]), view(row[1]),
                  row[2].is_null() ? std::nullopt : std::optional(std::string(view(row[2]))),
                  row[3].is_null() ? std::nullopt : std::optional(row[3].as<std::int64_t>()));
      if (!added) {
        call.heard();
        return fail(added.error().code, where_ + ": " + added.error().message);
      }
    }
    call.heard();
    const auto numbers = work.exec("SELECT space, number, uuid FROM metatap_ec2_id");
    call.pause();
    for (const auto& row : numbers) {
      ledger.add({static_cast<Ec2Ledger::Space>(row[0].as<int>()), row[1].as<std::uint32_t>(),
                  row[2].as<std::string>()});
    }
    stored_ = std::make_shared<const Inventory>(std::move(inventory));
    known_revision_ = stored_->revision;
    ledger_ = std::move(ledger);
    call.heard();
    return {};
  }

  void write(pqxx::work& work, const Step& step, AnswerLimit::Call& call) {
    const auto rows = rows_of(step.change);
    call.heard();
    for (const auto& row : rows.put) {
      work.exec_prepared0("put", std::string(row.kind), row.id, row.body,
                          row.network_info ? row.network_info->c_str() : nullptr, row.place);
      call.heard();
    }
    for (const auto& [kind, id] : rows.erase) {
      work.exec_prepared0("erase", std::string(kind), id);
      call.heard();
    }
    for (const auto& entry : step.ec2) {
      work.exec_prepared0("number", static_cast<int>(entry.space), entry.number, entry.uuid);
      call.heard();
    }
    work.exec(fmt::format("UPDATE metatap_state SET revision = {}", step.change.after->revision));
    work.exec(fmt::format("NOTIFY {}, '{}'", kChannel, me_));
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

  /// Until we stop. Whatever was announced before we listened was missed, and a server that is
  /// silent may be gone: so it is asked for its revision at first and every now and then.
  void follow(pqxx::connection& connection) {
    using Clock = std::chrono::steady_clock;
    Receiver receiver(connection, *this);
    for (Clock::time_point ask; !stopping();) {
      if (Clock::now() >= ask) {
        if (revision_of(connection) != known_revision_) {
          callback_();
        }
        if (set_health(true, "ok")) {
          log::info("database {}: connected again", where_);
        }
        ask = Clock::now() + kAskAgain;
      }
      connection.await_notification(0, 200'000);
      if (receiver.take()) {
        callback_();
      }
    }
  }

  std::uint64_t revision_of(pqxx::connection& connection) {
    const AnswerLimit::Call call(limit_, connection.sock());
    try {
      pqxx::nontransaction look(connection);
      return look.exec("SELECT revision FROM metatap_state")[0][0].as<std::uint64_t>();
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
    health_ = {reachable, where_, std::move(detail)};
    return changed;
  }

  const PostgresAddress address_;
  const std::string where_;
  const std::string me_;  ///< tells our own announcements from others'

  AnswerLimit limit_;

  // The caller's thread's.
  std::unique_ptr<pqxx::connection> connection_;
  bool migrated_ = false;
  std::shared_ptr<const Inventory> stored_ = std::make_shared<const Inventory>();
  Ec2Ledger ledger_;

  // Of both threads.
  std::atomic<std::uint64_t> known_revision_ = 0;  ///< 0: nothing was read yet
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  Health health_{false, where_, "not asked yet"};
  std::function<void()> callback_;
  std::thread listener_;
};

PostgresStore::PostgresStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PostgresStore::~PostgresStore() = default;

Result<std::unique_ptr<Store>> PostgresStore::open(std::string_view url,
                                                   std::chrono::milliseconds limit) {
  auto address = PostgresAddress::of(url, limit);
  if (!address) {
    return tl::make_unexpected(std::move(address.error()));
  }
  return std::unique_ptr<Store>(
      new PostgresStore(std::make_unique<Impl>(*std::move(address), limit)));
}

Status PostgresStore::check(std::string_view url, std::chrono::milliseconds limit) {
  auto address = PostgresAddress::of(url, limit);
  return address ? Impl(*std::move(address), limit).check()
                 : tl::make_unexpected(std::move(address.error()));
}

Result<std::shared_ptr<const Inventory>> PostgresStore::load() {
  if (auto status = impl_->load(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return impl_->stored();
}

Result<InventoryChange> PostgresStore::replace(const Inventory& wanted) {
  return impl_->transact([&](const auto& stored, const Ec2Ledger& ledger) {
    return step_replace(stored, ledger, wanted);
  });
}

Result<InventoryChange> PostgresStore::set_password(std::string_view instance_id,
                                                    std::string_view text) {
  return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
    return step_set_password(stored, instance_id, text);
  });
}

Result<InventoryChange> PostgresStore::clear_password(std::string_view instance_id) {
  return impl_->transact([&](const auto& stored, const Ec2Ledger&) {
    return step_clear_password(stored, instance_id);
  });
}

void PostgresStore::on_foreign_change(std::function<void()> callback) {
  impl_->listen(std::move(callback));
}

Store::Health PostgresStore::health() const {
  return impl_->health();
}

}  // namespace metatap
