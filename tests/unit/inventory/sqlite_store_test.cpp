// SPDX-License-Identifier: Apache-2.0
#include "inventory/sqlite_store.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <random>
#include <thread>

#include "inventory/document.hpp"
#include "inventory/open_store.hpp"
#include "inventory/step.hpp"
#include "unit/inventory/differences.hpp"
#include "unit/inventory/samples.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap {
namespace {

using testing::HasSubstr;

class SqliteStoreTest : public testing::Test {
 protected:
  std::unique_ptr<Store> open() {
    auto store = SqliteStore::open(path_);
    EXPECT_TRUE(store) << store.error().message;
    EXPECT_TRUE((*store)->load());
    return *std::move(store);
  }
  static Inventory document(std::string_view text) {
    auto inventory = parse_document(text);
    EXPECT_TRUE(inventory) << inventory.error().message;
    return *std::move(inventory);
  }
  static Inventory instances(std::string_view array) {
    return document(R"({"format": "metatap-inventory/1", "instances": )" + std::string(array) +
                    "}");
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "state" / "metatap.db";
};

TEST_F(SqliteStoreTest, KeepsEverythingOverAReopening) {
  const auto stored = open()->replace(document(kSample));
  ASSERT_TRUE(stored) << stored.error().message;
  EXPECT_EQ(stored->after->revision, 2U);
  const auto again = open()->load();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->revision, 2U);
  EXPECT_EQ(differences(*stored->after, **again), "nothing to change\n");
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(SqliteStoreTest, WritesNothingWhenNothingChanges) {
  const auto store = open();
  const auto first = store->replace(document(kSample));
  const auto second = store->replace(document(kSample));
  EXPECT_TRUE(second->empty());
  EXPECT_EQ(second->before, first->after);  // the same object
  EXPECT_EQ(second->after, first->after);
}

TEST_F(SqliteStoreTest, GivesEc2IdsOnceAndForEver) {
  const auto store = open();
  auto stored = *store
                     ->replace(instances(R"([{"uuid": "a", "image_ref": "img"},
      {"uuid": "b", "image_ref": "img", "ec2_ids": {"instance_id": "i-00000001"}},
      {"uuid": "c", "kernel_id": "krn"}])"))
                     ->after;
  EXPECT_EQ(stored.instances.at("b")->ec2_ids.instance_id, "i-00000001");
  EXPECT_EQ(stored.instances.at("a")->ec2_ids.instance_id, "i-00000002");
  EXPECT_EQ(stored.instances.at("c")->ec2_ids.instance_id, "i-00000003");
  EXPECT_EQ(stored.instances.at("a")->ec2_ids.ami_id, "ami-00000001");
  EXPECT_EQ(stored.instances.at("b")->ec2_ids.ami_id, "ami-00000001");
  EXPECT_EQ(stored.instances.at("c")->ec2_ids.ami_id, std::nullopt);
  EXPECT_EQ(stored.instances.at("c")->ec2_ids.kernel_id, "aki-00000002");
  ASSERT_TRUE(store->replace(Inventory{}));
  const auto later = open();  // also after a restart
  stored = *later->replace(instances(R"([{"uuid": "d"}, {"uuid": "c"}])"))->after;
  EXPECT_EQ(stored.instances.at("d")->ec2_ids.instance_id, "i-00000004");
  EXPECT_EQ(stored.instances.at("c")->ec2_ids.instance_id, "i-00000003");
  const auto stolen =
      later->replace(instances(R"([{"uuid": "e", "ec2_ids": {"instance_id": "i-00000001"}}])"));
  ASSERT_FALSE(stolen);
  EXPECT_EQ(stolen.error().code, ErrorCode::conflict);
  EXPECT_THAT(stolen.error().message, HasSubstr("it was given to b"));
  const auto changed =
      later->replace(instances(R"([{"uuid": "d", "ec2_ids": {"instance_id": "i-000000ff"}}])"));
  ASSERT_FALSE(changed);
  EXPECT_THAT(changed.error().message, HasSubstr("its number is 00000004"));
}

TEST_F(SqliteStoreTest, GivesAReservationIdOnce) {
  const auto store = open();
  const auto first = *store->replace(instances(R"([{"uuid": "a"}, {"uuid": "b"}])"))->after;
  const auto id = first.instances.at("a")->reservation_id.value();
  EXPECT_THAT(id, testing::MatchesRegex("r-[0-9a-z]{8}"));
  EXPECT_NE(id, first.instances.at("b")->reservation_id);
  const auto second = *store->replace(instances(R"([{"uuid": "a", "name": "x"}])"))->after;
  EXPECT_EQ(second.instances.at("a")->reservation_id, id);
  EXPECT_EQ(second.revision, 3U);
}

TEST_F(SqliteStoreTest, SetsAPasswordOnceAndKeepsIt) {
  const auto store = open();
  ASSERT_TRUE(store->replace(instances(R"([{"uuid": "a"}])")));
  std::string text;  // 255 characters a part, not bytes, and any character
  for (int i = 0; i < 300; ++i) {
    text += "ü";
  }
  text.push_back('\0');
  ASSERT_TRUE(store->set_password("a", text));
  EXPECT_EQ(store->set_password("a", "other").error().code, ErrorCode::conflict);
  EXPECT_EQ(store->set_password("b", "x").error().code, ErrorCode::not_found);
  ASSERT_TRUE(store->replace(instances(R"([{"uuid": "a", "name": "x"}])")));
  const auto again = open()->load();
  const auto& instance = *(*again)->instances.at("a");
  EXPECT_EQ(instance.name, "x");
  EXPECT_EQ(password_of(instance), text);
  EXPECT_EQ(instance.system_metadata.at("password_0").size(), 510U);
  EXPECT_EQ(instance.system_metadata.at("password_1").size(), 91U);
}

TEST_F(SqliteStoreTest, RefusesPasswordsThatCannotBeKept) {
  const auto store = open();
  ASSERT_TRUE(store->replace(instances(R"([{"uuid": "a"}])")));
  for (const std::string& text : {std::string(1021, 'x'), std::string("\xff"), std::string("\xc3"),
                                  std::string("\xed\xa0\x80"), std::string("\xc0\x80")}) {
    const auto result = store->set_password("a", text);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::invalid);
  }
  EXPECT_TRUE(store->set_password("a", ""));
  EXPECT_TRUE(store->set_password("a", std::string(1020, 'x')));
}

TEST_F(SqliteStoreTest, ClearsAPassword) {
  const auto store = open();
  ASSERT_TRUE(store->replace(instances(R"([{"uuid": "a"}])")));
  ASSERT_TRUE(store->set_password("a", "secret"));
  const auto cleared = store->clear_password("a");
  ASSERT_TRUE(cleared);
  EXPECT_EQ(password_of(*cleared->after->instances.at("a")), "");
  EXPECT_TRUE(store->set_password("a", "second"));
  EXPECT_EQ(store->clear_password("b").error().code, ErrorCode::not_found);
}

TEST_F(SqliteStoreTest, SeesWhatAnotherProcessWrote) {
  const auto one = open();
  const auto two = open();
  ASSERT_TRUE(one->replace(instances(R"([{"uuid": "a"}])")));
  ASSERT_TRUE(two->set_password("a", "x"));
  EXPECT_EQ(one->set_password("a", "y").error().code, ErrorCode::conflict);
  const auto edited = *one->load();
  ASSERT_TRUE(two->clear_password("a"));
  const auto late = one->replace(*edited);
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message, HasSubstr("changed meanwhile"));
}

TEST_F(SqliteStoreTest, IsToldWhatAnotherProcessWroteButNotItsOwn) {
  const auto ours = open();
  std::mutex mutex;
  std::condition_variable wake;
  int told = 0;
  ours->on_foreign_change([&] {
    const std::lock_guard lock(mutex);
    ++told;
    wake.notify_all();
  });
  ASSERT_TRUE(ours->replace(document(kSample)));
  std::unique_lock lock(mutex);
  EXPECT_FALSE(wake.wait_for(lock, std::chrono::milliseconds(600), [&] { return told > 0; }));
  ASSERT_TRUE(open()->replace(instances("[]")));
  EXPECT_TRUE(wake.wait_for(lock, std::chrono::seconds(5), [&] { return told > 0; }));
}

TEST_F(SqliteStoreTest, LooksForOthersChangesAgainAfterItCouldNot) {
  const auto ours = open();
  ASSERT_TRUE(ours->replace(document(kSample)));
  std::atomic<int> told = 0;
  ours->on_foreign_change([&] { ++told; });
  const auto until = [&](auto&& so) {
    for (int i = 0; i < 500 && !so(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return so();
  };
  const auto rename = [&](const char* from, const char* to) {
    SQLite::Database(path_, SQLite::OPEN_READWRITE, 5000)
        .exec(std::string("ALTER TABLE ") + from + " RENAME TO " + to);
  };
  EXPECT_TRUE(ours->health().reachable);
  rename("state", "away");
  ASSERT_TRUE(until([&] { return !ours->health().reachable; }));
  EXPECT_THAT(ours->health().detail, testing::HasSubstr("others' changes are not seen: "));
  rename("away", "state");
  ASSERT_TRUE(until([&] { return ours->health().reachable; }));
  EXPECT_EQ(ours->health().detail, "ok");
  EXPECT_EQ(told, 0);
  ASSERT_TRUE(open()->replace(instances("[]")));
  EXPECT_TRUE(until([&] { return told > 0; }));
}

TEST_F(SqliteStoreTest, CanBeMadeBySeveralProcessesAtOnce) {
  constexpr int kProcesses = 8;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto store = SqliteStore::open(path_);
      ::_exit(store && (*store)->load() ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST_F(SqliteStoreTest, RefusesANewerSchemaAndLeavesItAlone) {
  ASSERT_TRUE(open()->replace(document(kSample)));
  SQLite::Database(path_.string(), SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 99");
  const auto store = SqliteStore::open(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::unsupported);
  EXPECT_THAT(store.error().message, HasSubstr("its schema 99 is newer than this program's"));
  EXPECT_EQ(SQLite::Database(path_.string()).execAndGet("PRAGMA user_version").getInt(), 99);
}

TEST_F(SqliteStoreTest, RefusesFilesOfOthers) {
  SQLite::Database(path_.parent_path().parent_path() / "other.db",
                   SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec("CREATE TABLE x (y)");
  auto store = SqliteStore::open(directory_.path() / "other.db");
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr("another program"));
  std::FILE* file = std::fopen((directory_.path() / "text").c_str(), "w");
  for (int i = 0; i < 1000; ++i) {
    std::fputs("no database\n", file);
  }
  std::fclose(file);
  store = SqliteStore::open(directory_.path() / "text");
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::invalid);
}

TEST_F(SqliteStoreTest, NamesItsConnection) {
  const auto path = directory_.path() / "by-url.db";
  for (const auto& url : {"sqlite:///" + path.string(),
                          "sqlite:/"
                          "/" +
                              path.string()}) {
    const auto store = open_store(url, "/nowhere", std::chrono::seconds(5));
    ASSERT_TRUE(store) << store.error().message;
    EXPECT_THAT((*store)->health().where, HasSubstr("by-url.db"));
  }
  EXPECT_TRUE(open_store("", directory_.path(), std::chrono::seconds(5)));
  EXPECT_TRUE(std::filesystem::exists(directory_.path() / "metatap.db"));
  const auto other =
      open_store("mysql://root:secret@host/nova", "/nowhere", std::chrono::seconds(5));
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, testing::Not(HasSubstr("secret")));
}

/// Runs `body` in a child and returns what it wrote to its pipe before it ended.
template <class F, class G>
std::string in_child(F&& body, G&& meanwhile) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    body(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  meanwhile(child);
  std::string written;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    written.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return written;
}

TEST_F(SqliteStoreTest, LosesNothingAcknowledgedWhenKilled) {
  std::mt19937 random(20241101);  // NOLINT: the same points each run
  int acknowledged_in_all = 0;
  std::size_t known = 0;
  // A busy machine may kill many a child before its first word: then there are more rounds.
  for (int round = 0; round < 25 || (acknowledged_in_all <= 25 && round < 500); ++round) {
    const auto written = in_child(
        [&](int pipe) {
          auto store = SqliteStore::open(path_);
          auto inventory = *(*store)->load();
          for (;;) {
            auto next = *inventory;
            auto instance = std::make_shared<Instance>();
            instance->uuid = "u" + std::to_string(next.instances.size());
            next.instances[instance->uuid] = instance;
            inventory = (*store)->replace(next)->after;
            const auto line = std::to_string(inventory->instances.size()) + "\n";
            if (::write(pipe, line.data(), line.size()) < 0) {
              return;
            }
          }
        },
        [&](pid_t child) {
          std::this_thread::sleep_for(std::chrono::microseconds(5000 + random() % 20000));
          ::kill(child, SIGKILL);
        });
    acknowledged_in_all += static_cast<int>(std::ranges::count(written, '\n'));
    if (const auto end = written.rfind('\n'); end != std::string::npos) {
      const auto begin = written.rfind('\n', end - 1);
      known = std::stoul(written.substr(begin == std::string::npos ? 0 : begin + 1));
    }
    auto store = SqliteStore::open(path_);
    ASSERT_TRUE(store) << store.error().message;
    const auto inventory = (*store)->load();
    ASSERT_TRUE(inventory) << inventory.error().message;
    const auto& stored = **inventory;
    // One more may have been written than could still be acknowledged.
    ASSERT_GE(stored.instances.size(), known);
    ASSERT_LE(stored.instances.size(), known + 1);
    EXPECT_EQ(stored.revision, stored.instances.size() + 1);
    std::set<std::string> names;
    for (const auto& [uuid, instance] : stored.instances) {
      names.insert(instance->ec2_ids.instance_id.value());
    }
    EXPECT_EQ(names.size(), stored.instances.size());
    known = stored.instances.size();
  }
  EXPECT_GT(acknowledged_in_all, 25);
}

TEST_F(SqliteStoreTest, KeepsTheOldValueWhenTheDiskIsFull) {
  ASSERT_TRUE(open()->replace(instances(R"([{"uuid": "a", "name": "before"}])")));
  const auto said = in_child(
      [&](int pipe) {
        auto store = SqliteStore::open(path_);
        static_cast<void>((*store)->load());
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit small{4096, 4096};  // no file may grow
        ::setrlimit(RLIMIT_FSIZE, &small);
        const auto result = (*store)->set_password("a", "secret");
        const auto kept = (*store)->load();
        ::setrlimit(RLIMIT_FSIZE, &small);
        const auto line =
            (result ? "stored" : "refused " + result.error().message) + "|" +
            (kept ? (*kept)->instances.at("a")->name + password_of(*(*kept)->instances.at("a"))
                  : kept.error().message);
        static_cast<void>(::write(pipe, line.data(), line.size()));
      },
      [](pid_t) {});
  EXPECT_THAT(said, testing::StartsWith("refused database"));
  EXPECT_THAT(said, testing::EndsWith("|before"));
  const auto store = open();  // and there is room again
  EXPECT_EQ(password_of(*(*store->load())->instances.at("a")), "");
  EXPECT_TRUE(store->set_password("a", "secret"));
}

}  // namespace
}  // namespace metatap
