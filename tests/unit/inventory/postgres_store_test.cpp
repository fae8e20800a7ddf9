// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_store.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <pqxx/pqxx>
#include <string>
#include <thread>

#include "inventory/document.hpp"
#include "inventory/open_store.hpp"
#include "inventory/postgres_address.hpp"
#include "inventory/service.hpp"
#include "inventory/step.hpp"
#include "unit/inventory/differences.hpp"
#include "unit/inventory/postgres_server.hpp"
#include "unit/inventory/samples.hpp"
#include "unit/inventory/temporary_directory.hpp"
#include "unit/waiting.hpp"

namespace metatap {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;

class PostgresStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = Server::missing(); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    server_ = std::make_unique<Server>();
  }
  std::unique_ptr<Store> open() {
    auto store = open_store(server_->url(), "/nowhere", kLimit);
    EXPECT_TRUE(store) << store.error().message;
    EXPECT_TRUE((*store)->load());
    return *std::move(store);
  }
  static Inventory instances(std::string_view array) {
    return *parse_document(R"({"format": "metatap-inventory/1", "instances": )" +
                           std::string(array) + "}");
  }

  std::unique_ptr<Server> server_;
};

TEST_F(PostgresStoreTest, KeepsEverythingAsSqliteDoes) {
  const auto store = open();
  const auto stored = store->replace(*parse_document(kSample));
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(stored->after->revision, 2U);
  EXPECT_TRUE(store->replace(*parse_document(kSample))->empty());
  const auto again = open()->load();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(differences(*stored->after, **again), "nothing to change\n");

  std::string text = "ü";
  text.push_back('\0');
  ASSERT_TRUE(store->set_password("i-1", text));
  const auto other = open();
  EXPECT_EQ(other->set_password("i-1", "x").error().code, ErrorCode::conflict);
  EXPECT_EQ(password_of(*(*other->load())->instances.at("i-1")), text);
  ASSERT_TRUE(other->clear_password("i-1"));
  EXPECT_TRUE(store->set_password("i-1", "y"));  // knows what the other one did

  ASSERT_TRUE(store->replace(Inventory{}));
  const auto later = other->replace(instances(R"([{"uuid": "new"}])"));
  ASSERT_TRUE(later) << later.error().message;
  EXPECT_EQ(later->after->instances.at("new")->ec2_ids.instance_id, "i-0000000c");
}

TEST_F(PostgresStoreTest, RefusesANewerSchema) {
  open();
  server_->sql("UPDATE metatap_state SET schema = 99");
  const auto loaded = open_store(server_->url(), "/nowhere", kLimit).value()->load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::unsupported);
  EXPECT_THAT(loaded.error().message, HasSubstr("its schema 99 is newer"));
}

TEST_F(PostgresStoreTest, MakesNoTablesInADatabaseOfAnotherProgram) {
  server_->sql("CREATE SCHEMA nova; CREATE TABLE nova.instances (id integer)");
  const auto loaded = open_store(server_->url(), "/nowhere", kLimit).value()->load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::invalid);
  EXPECT_THAT(loaded.error().message, HasSubstr("belongs to another program (there is instances)"));
  EXPECT_THROW(server_->sql("SELECT * FROM metatap_state"), pqxx::undefined_table);
  // It does not start with it either.
  boost::asio::io_context control;
  const auto service = InventoryService::open(
      control.get_executor(), {.database = server_->url(), .state_path = "/nowhere"});
  ASSERT_TRUE(service);
  const auto started = (*service)->start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("belongs to another program"));
}

TEST_F(PostgresStoreTest, KeepsTheOrderInWhichPortsWereAttached) {
  constexpr auto kPorts = R"({"format": "metatap-inventory/1", "networks": [{"id": "n"}], "ports": [
      {"id": "z", "network_id": "n", "mac_address": "02:00:00:00:00:01", "device_id": "i"},
      {"id": "a", "network_id": "n", "mac_address": "02:00:00:00:00:02", "device_id": "i"}]})";
  ASSERT_TRUE(open()->replace(*parse_document(kPorts)));
  const auto stored = open()->load();
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_LT((*stored)->ports.at("z")->attached, (*stored)->ports.at("a")->attached);
}

/// What the first released program made, with an instance in it.
constexpr auto kFirstTables = R"(
    CREATE TABLE metatap_state (one integer PRIMARY KEY CHECK (one = 1), schema integer NOT NULL,
                                revision bigint NOT NULL);
    INSERT INTO metatap_state VALUES (1, 1, 5);
    CREATE TABLE metatap_object (kind text NOT NULL, id text NOT NULL, body text NOT NULL,
                                 network_info text, PRIMARY KEY (kind, id));
    CREATE TABLE metatap_ec2_id (space integer NOT NULL, number bigint NOT NULL, uuid text NOT NULL,
                                 PRIMARY KEY (space, number), UNIQUE (space, uuid));
    INSERT INTO metatap_object VALUES ('instances', 'old', '{"uuid": "old", "name": "old"}');
    INSERT INTO metatap_ec2_id VALUES (0, 7, 'old'))";

TEST_F(PostgresStoreTest, GoesOnWithTablesOfAnOlderProgram) {
  server_->sql(kFirstTables);
  const auto store = open();
  auto wanted = **store->load();
  EXPECT_TRUE(wanted.instances.contains("old"));
  wanted.instances = instances(R"([{"uuid": "old"}, {"uuid": "new"}])").instances;
  const auto stored = store->replace(wanted);
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(stored->after->revision, 6U);
  EXPECT_EQ(stored->after->instances.at("new")->ec2_ids.instance_id, "i-00000008");
  EXPECT_TRUE(open()->replace(*parse_document(kSample)));
}

/// A change that no store has made: whoever reads the row again sees it.
constexpr auto kUnnoticed = R"(UPDATE metatap_object SET body = '{"uuid": "a", "name": "unnoticed"}'
                               WHERE kind = 'instances' AND id = 'a')";

/// Of an instance as a store has it now; empty: there is none.
std::string name_of(Store& store, const char* uuid) {
  const auto loaded = store.load();
  EXPECT_TRUE(loaded) << loaded.error().message;
  const auto* instance = get((*loaded)->instances, uuid);
  return instance == nullptr ? "" : instance->name;
}

TEST_F(PostgresStoreTest, ReadsWhatHasChangedAndNoMore) {
  const auto one = open(), two = open();
  ASSERT_TRUE(one->replace(instances(R"([{"uuid": "a", "name": "1"}, {"uuid": "b", "name": "1"},
                                         {"uuid": "c", "name": "1"}])")));
  EXPECT_EQ(name_of(*two, "a"), "1");
  server_->sql(kUnnoticed);
  // One that changes, one that comes, one that goes, in several commits.
  ASSERT_TRUE(one->replace(instances(R"([{"uuid": "a", "name": "1"}, {"uuid": "b", "name": "2"},
                                         {"uuid": "c", "name": "1"}])")));
  ASSERT_TRUE(one->replace(instances(R"([{"uuid": "a", "name": "1"}, {"uuid": "b", "name": "3"},
                                         {"uuid": "d", "name": "1"}])")));
  EXPECT_EQ(name_of(*two, "b"), "3");
  EXPECT_EQ(name_of(*two, "c"), "");
  EXPECT_EQ(name_of(*two, "d"), "1");
  EXPECT_EQ(name_of(*two, "a"), "1") << "its row was read, and nobody had changed it";
  EXPECT_EQ((*two->load())->revision, 4U);
  // Whoever writes goes on from what the other one wrote.
  ASSERT_TRUE(two->set_password("d", "x"));
  ASSERT_TRUE(one->clear_password("d"));
  EXPECT_EQ(password_of(*(*two->load())->instances.at("d")), "");
}

TEST_F(PostgresStoreTest, ReadsEverythingWhereItCannotTellWhatHasChanged) {
  int n = 0;
  const auto change = [&n](Store& store) {
    EXPECT_TRUE(store.replace(
        instances(R"([{"uuid": "a", "name": "1"}, {"uuid": "n)" + std::to_string(++n) + R"("}])")));
  };
  const std::pair<const char*, const char*> breaks[] = {
      {"it has forgotten", "DELETE FROM metatap_commit WHERE revision < 4"},
      {"a program of an older version",
       "UPDATE metatap_state SET revision = revision + 1; UPDATE metatap_object SET body = "
       R"('{"uuid": "a", "name": "older"}' WHERE id = 'a')"},
      {"a backup of the same number", "UPDATE metatap_commit SET mark = 'another'"},
      {"a backup of before", "UPDATE metatap_state SET revision = 2"},
  };
  for (const auto& [what, sql] : breaks) {
    SCOPED_TRACE(what);
    server_->sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    const auto one = open();
    change(*one);
    change(*one);
    const auto two = open();
    EXPECT_EQ(name_of(*two, "a"), "1");
    server_->sql(kUnnoticed);
    server_->sql(sql);
    const bool older = std::string_view(sql).find("older") != std::string_view::npos;
    EXPECT_EQ(name_of(*two, "a"), older ? "older" : "unnoticed");
  }
}

TEST_F(PostgresStoreTest, MissesNothingThatAProgramOfAnOlderVersionDidInBetween) {
  const auto one = open(), two = open();
  ASSERT_TRUE(one->replace(instances(R"([{"uuid": "a"}, {"uuid": "b"}])")));
  EXPECT_EQ(name_of(*two, "b"), "");
  server_->sql(R"(UPDATE metatap_object SET body = '{"uuid": "b", "name": "older"}' WHERE id = 'b';
                  UPDATE metatap_state SET revision = revision + 1)");
  ASSERT_TRUE(one->set_password("a", "x"));
  EXPECT_EQ(name_of(*one, "b"), "older");
  EXPECT_EQ(name_of(*two, "b"), "older");
}

TEST_F(PostgresStoreTest, NeverShowsThePassword) {
  const auto store =
      open_store("postgresql+psycopg2://u:hush@127.0.0.1:1/db?password=hush", "/", kLimit).value();
  const auto loaded = store->load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::unavailable);
  EXPECT_THAT(loaded.error().message, Not(HasSubstr("hush")));
  EXPECT_THAT(loaded.error().message, HasSubstr("u@127.0.0.1:1/db"));
}

TEST(PostgresAddress, ChecksTheServersNameOverANetworkUnlessToldOtherwise) {
  const auto options = [](const char* url) { return PostgresAddress::of(url, 5s).value().options; };
  EXPECT_THAT(options("postgresql://u:it's@db/metatap"),
              AllOf(HasSubstr("sslmode='verify-full'"), HasSubstr(R"(password='it\'s')"),
                    HasSubstr("connect_timeout='5'"), HasSubstr("tcp_user_timeout='5000'")));
  EXPECT_THAT(options("postgresql+asyncpg://u@127.0.0.1,192.0.2.1/m"), HasSubstr("verify-full"));
  EXPECT_THAT(options("postgresql://u@/m?host=/run&hostaddr=192.0.2.1"), HasSubstr("verify-full"));
  EXPECT_THAT(options("postgresql://db/m?sslmode=disable"),
              AllOf(HasSubstr("sslmode='disable'"), Not(HasSubstr("verify-full"))));
  for (const auto* local : {"postgresql://u@/m", "postgresql://u@/m?host=/run/postgresql",
                            "postgresql://localhost/m", "postgresql://127.0.0.2,[::1]/m"}) {
    EXPECT_THAT(options(local), Not(HasSubstr("sslmode"))) << local;
  }
  const auto wrong = PostgresAddress::of("postgresql://u:hush@[::1/m", 5s);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::invalid);
  EXPECT_THAT(wrong.error().message, Not(HasSubstr("hush")));
}

TEST_F(PostgresStoreTest, TellsOtherHosts) {
  Host one(server_->url()), two(server_->url());
  int told = 0;
  two->subscribe([&](const InventoryChange&) { ++told; });
  ASSERT_TRUE(one.apply(kSample));
  EXPECT_TRUE(two.until([&] { return two->current()->instances.size() == 2; }, 5s));
  EXPECT_EQ(told, 1);
  // A change made from what is no longer the present state is made again, of the present one.
  ASSERT_TRUE(one.add(R"({"uuid": "a", "name": "one"})"));
  ASSERT_TRUE(two.add(R"({"uuid": "b", "name": "two"})"));
  EXPECT_EQ(two->current()->instances.size(), 4U);
  EXPECT_TRUE(one.until([&] { return one->current()->instances.contains("b"); }, 5s));
}

TEST_F(PostgresStoreTest, ReadsManyCommitsAtOnceWhileReadingIsDear) {
  const auto commit = [](Store& store, int number) {
    EXPECT_TRUE(
        store.replace(instances(fmt::format(R"([{{"uuid": "a", "name": "{}"}}])", number))));
  };
  const auto writer = open_store(server_->url(), "/nowhere", kLimit).value();
  const auto reader = open_store(server_->url(), "/nowhere", kLimit).value();
  commit(*writer, 0);
  ASSERT_TRUE(reader->load());
  {
    server_->hang(true);
    const std::jthread goes_on([this] {
      std::this_thread::sleep_for(100ms);
      server_->hang(false);
    });
    ASSERT_TRUE(reader->load());
  }
  std::atomic<int> told = 0;
  reader->on_foreign_change([&] { ++told; });
  constexpr int kCommits = 20;
  for (int number = 1; number <= kCommits; ++number) {
    commit(*writer, number);
    std::this_thread::sleep_for(10ms);
  }
  for (int tries = 0; told == 0 && tries < 500; ++tries) {
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_GT(told, 0);
  EXPECT_LT(told, kCommits / 2);
  EXPECT_EQ(reader->load().value()->instances.at("a")->name, std::to_string(kCommits));
}

TEST_F(PostgresStoreTest, ServesOnWhileTheDatabaseIsAwayAndComesBack) {
  Host host(server_->url());
  ASSERT_TRUE(host.apply(kSample));
  server_->stop(SIGQUIT);  // as a crash would
  EXPECT_TRUE(host.until([&] { return !host->state().store.reachable; }, 2s));
  EXPECT_EQ(host->current()->instances.size(), 2U);
  const auto refused = host.add(R"({"uuid": "a"})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(host->current()->instances.size(), 2U);
  server_->start();
  EXPECT_TRUE(host.until([&] { return host->state().store.reachable; }, 3s));
  EXPECT_TRUE(host.add(R"({"uuid": "a"})"));
  // What others changed while it was away is caught up with.
  server_->stop(SIGQUIT);
  EXPECT_TRUE(host.until([&] { return !host->state().store.reachable; }, 2s));
  server_->start();
  {
    Host other(server_->url());
    ASSERT_TRUE(other.add(R"({"uuid": "b"})"));
  }
  EXPECT_TRUE(host.until([&] { return host->current()->instances.contains("b"); }, 3s));
}

TEST_F(PostgresStoreTest, HoldsUpNobodyWhileTheDatabaseHangs) {
  Host host(server_->url());
  ASSERT_TRUE(host.apply(kSample));
  server_->hang(true);
  std::optional<Status> posted;
  boost::asio::io_context worker;
  boost::asio::co_spawn(worker, host->set_password("i-1", "secret"),
                        [&](std::exception_ptr, Status status) { posted = std::move(status); });
  int turns = 0;
  EXPECT_TRUE(host.until(
      [&] {
        worker.restart();
        worker.poll();
        ++turns;
        return posted.has_value();
      },
      kLimit + 2s));
  EXPECT_GT(turns, 20);  // the control thread went on meanwhile
  ASSERT_TRUE(posted);
  EXPECT_EQ(posted->error().code, ErrorCode::unavailable);
  const auto added = host.add(R"({"uuid": "a"})");
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(host.until([&] { return !host->state().store.reachable; }, 6s));
  // As the first call had it, or the next, which had to connect again.
  EXPECT_THAT(host->state().store.detail,
              AnyOf(HasSubstr("no answer within 1 s"), HasSubstr("timeout expired")));
  EXPECT_EQ(host->current()->instances.size(), 2U);
  server_->hang(false);
  EXPECT_TRUE(host.until([&] { return host->state().store.reachable; }, 6s));
  EXPECT_TRUE(host.add(R"({"uuid": "b"})"));
  EXPECT_EQ(host->state().age, 0s);
}

TEST_F(PostgresStoreTest, StartsWithItsCopyWhileTheDatabaseIsAway) {
  TemporaryDirectory state;
  {
    Host host(server_->url(), state.path());
    ASSERT_TRUE(host.apply(kSample));
    ASSERT_TRUE(answer_of(host.control(), host->set_password("i-1", "secret")));
    ASSERT_TRUE(host.add(R"({"uuid": "a"})"));
    ASSERT_TRUE(answer_of(host.control(), host->remove_instance("i-2")));
  }
  for (const bool hangs : {true, false}) {
    if (hangs) {
      server_->hang(true);
    } else {
      server_->stop(SIGQUIT);
    }
    Host host(server_->url(), state.path());
    EXPECT_TRUE(host->known());
    EXPECT_TRUE(host->state().from_copy);
    EXPECT_GE(host->state().age, 0s);
    const auto served = host->current();
    EXPECT_EQ(served->instances.size(), 2U);
    EXPECT_EQ(password_of(*served->instances.at("i-1")), "secret");
    if (hangs) {
      server_->hang(false);
    } else {
      server_->start();
    }
    EXPECT_TRUE(host.until([&] { return !host->state().from_copy; }, 10s));
    EXPECT_EQ(differences(*served, *host->current()), "nothing to change\n");
    EXPECT_TRUE(host.add(hangs ? R"({"uuid": "h"})" : R"({"uuid": "s"})"));
    ASSERT_TRUE(answer_of(host.control(), host->remove_instance(hangs ? "h" : "s")));
  }
  // What is another database's is nobody's here.
  server_->stop(SIGQUIT);
  Host other("postgresql://metatap@/other?host=/nowhere", state.path());
  EXPECT_FALSE(other->known());
  EXPECT_TRUE(other->current()->instances.empty());
}

TEST_F(PostgresStoreTest, KnowsNothingUntilTheDatabaseWasThereOnce) {
  TemporaryDirectory state;
  server_->stop(SIGQUIT);
  Host host(server_->url(), state.path());
  EXPECT_FALSE(host->known());
  EXPECT_NE(host->state().unknown_because, "");
  bool told = false;
  host->on_known([&] { told = true; });
  server_->start();
  EXPECT_TRUE(host.until([&] { return told; }, 10s));
  EXPECT_TRUE(host->known());
  EXPECT_EQ(host->state().unknown_because, "");
  EXPECT_TRUE(host.apply(kSample));
}

}  // namespace
}  // namespace metatap
