// SPDX-License-Identifier: Apache-2.0
#include "inventory/service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <condition_variable>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "base/config.hpp"
#include "inventory/open_store.hpp"
#include "inventory/step.hpp"
#include "inventory/write_document.hpp"
#include "unit/inventory/samples.hpp"
#include "unit/inventory/temporary_directory.hpp"
#include "unit/waiting.hpp"

namespace metatap {
namespace {

namespace asio = boost::asio;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

class InventoryServiceTest : public testing::Test {
 protected:
  void start() {
    auto service = InventoryService::open(control_.get_executor(), options_);
    ASSERT_TRUE(service) << service.error().message;
    service_ = *std::move(service);
    service_->subscribe([this](const InventoryChange& change) { changes_.push_back(change); });
    const auto started = service_->start();
    ASSERT_TRUE(started) << started.error().message;
  }
  /// Runs the control thread until it holds, at most three seconds.
  template <class F>
  bool until(F&& holds) {
    const auto end = std::chrono::steady_clock::now() + 3s;
    while (!holds() && std::chrono::steady_clock::now() < end) {
      control_.restart();
      control_.run_for(10ms);
    }
    return holds();
  }
  /// What a coroutine of the service comes to, on the control thread.
  template <class T>
  T answer(asio::awaitable<T> coroutine) {
    return answer_of(control_, std::move(coroutine));
  }
  auto apply(std::string_view document) { return answer(service_->apply(std::string(document))); }
  auto put(std::string document, InventoryService::Mode mode) {
    return answer(service_->put(std::move(document), mode));
  }
  void write_file(std::string_view text) const { std::ofstream(*options_.file) << text; }
  void replace_file(std::string_view text) const {
    const auto other = directory_.path() / "new";
    std::ofstream(other) << text;
    std::filesystem::rename(other, *options_.file);
  }
  static std::string document(std::string_view name) {
    return R"({"format": "metatap-inventory/1", "instances": [{"uuid": "a", "name": ")" +
           std::string(name) + "\"}]}";
  }
  std::string name() const {
    const auto inventory = service_->current();
    const auto found = inventory->instances.find("a");
    return found == inventory->instances.end() ? "(none)" : found->second->name;
  }

  TemporaryDirectory directory_;
  InventoryOptions options_{.database = "", .state_path = directory_.path()};
  asio::io_context control_;
  std::unique_ptr<InventoryService> service_;
  std::vector<InventoryChange> changes_;
};

TEST_F(InventoryServiceTest, PublishesAndTellsWhatChanged) {
  start();
  EXPECT_TRUE(changes_.empty());
  const auto rehearsed = service_->rehearse(kSample);
  ASSERT_TRUE(rehearsed) << rehearsed.error().message;
  EXPECT_FALSE(rehearsed->empty());
  EXPECT_TRUE(service_->current()->instances.empty());
  ASSERT_TRUE(apply(kSample));
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_THAT(changes_[0].instances, ElementsAre("i-1", "i-2"));
  EXPECT_TRUE(changes_[0].before->instances.empty());
  EXPECT_EQ(changes_[0].after, service_->current());
  EXPECT_TRUE(apply(kSample)->empty());
  EXPECT_EQ(changes_.size(), 1U);  // nothing changed, nobody is told
  EXPECT_TRUE(service_->rehearse(kSample)->empty());
}

TEST_F(InventoryServiceTest, TellsWhatWasStoredAtTheStart) {
  start();
  ASSERT_TRUE(apply(kSample));
  service_.reset();
  changes_.clear();
  start();
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_EQ(changes_[0].instances.size(), 2U);
}

TEST_F(InventoryServiceTest, TellsWhatAnotherProcessStoredWithItsOwnChange) {
  start();
  ASSERT_TRUE(apply(document("x")));
  auto other = InventoryService::open(control_.get_executor(), options_);
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE((*other)->start());
  ASSERT_TRUE(answer((*other)->put(R"({"uuid": "theirs"})", InventoryService::Mode::add)));
  // Not told of it yet: the commit of a password finds it in the database.
  asio::io_context worker;
  asio::co_spawn(worker, service_->set_password("a", "secret"), asio::detached);
  EXPECT_TRUE(until([&] {
    worker.restart();
    worker.poll();
    return changes_.size() > 1 && !password_of(*service_->current()->instances.at("a")).empty();
  }));
  std::set<std::string> told;
  for (std::size_t at = 1; at < changes_.size(); ++at) {
    EXPECT_EQ(changes_[at].before, changes_[at - 1].after);  // no change is missed in between
    told.insert(changes_[at].instances.begin(), changes_[at].instances.end());
  }
  EXPECT_EQ(told, (std::set<std::string>{"a", "theirs"}));
}

TEST_F(InventoryServiceTest, TakesNothingOfABrokenDocument) {
  start();
  ASSERT_TRUE(apply(kSample));
  const auto before = service_->current();
  const auto broken = apply(R"({"format": "metatap-inventory/1", "ports": [{}]})");
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("/ports/0: \"id\" is required"));
  EXPECT_EQ(service_->current(), before);
}

TEST_F(InventoryServiceTest, EditsOneObjectAtATime) {
  using enum InventoryService::Mode;
  start();
  ASSERT_TRUE(apply(kSample));
  ASSERT_TRUE(put(R"({"uuid": "a", "name": "one"})", add));
  EXPECT_EQ(put(R"({"uuid": "a", "name": "two"})", add).error().code, ErrorCode::conflict);
  ASSERT_TRUE(put(R"({"uuid": "a", "name": "two"})", set));
  EXPECT_EQ(name(), "two");
  EXPECT_THAT(changes_.back().instances, ElementsAre("a"));
  ASSERT_TRUE(put(R"({"ports": [{"id": "p-a", "network_id": "n-1", "device_id": "a",
                                           "mac_address": "02:00:00:00:00:0a"}]})",
                  add));
  ASSERT_TRUE(answer(service_->remove_instance("a")));
  EXPECT_EQ(name(), "(none)");
  EXPECT_FALSE(service_->current()->ports.contains("p-a"));
  EXPECT_TRUE(service_->current()->ports.contains("p-1"));
  EXPECT_EQ(answer(service_->remove_instance("a")).error().code, ErrorCode::not_found);
}

TEST_F(InventoryServiceTest, WhatOnlyOneMayHaveIsKnownOverAllKindsOfChange) {
  start();
  ASSERT_TRUE(apply(kSample));
  const auto set = [&](std::string name, std::string device) {
    return put(R"({"instances": [{"uuid": ")" + name + R"("}], "ports": [{"id": "p-)" + name +
                   R"(", "network_id": "n-1", "device_id": ")" + name +
                   R"(", "mac_address": "02:00:00:00:00:0)" + name + R"(", "device": ")" + device +
                   R"("}]})",
               InventoryService::Mode::set);
  };
  ASSERT_TRUE(set("a", "tap8"));
  EXPECT_THAT(set("b", "tap8").error().message,
              HasSubstr("/ports/0/device: device tap8 is port p-a's already"));
  ASSERT_TRUE(set("a", "tap9"));
  EXPECT_TRUE(set("b", "tap8")) << "nobody has it any more";
  EXPECT_THAT(set("a", "tap8").error().message, HasSubstr("is port p-b's already"));
  EXPECT_FALSE(set("c", "tap9"));
  ASSERT_TRUE(answer(service_->remove_instance("a")));
  EXPECT_TRUE(set("c", "tap9"));
  ASSERT_TRUE(apply(kSample));
  EXPECT_TRUE(set("d", "tap8")) << "there is another inventory now";
}

TEST_F(InventoryServiceTest, FollowsItsFile) {
  options_.file = directory_.path() / "inventory.json";
  write_file(document("first"));
  start();
  EXPECT_EQ(name(), "first");
  write_file(document("written"));
  EXPECT_TRUE(until([&] { return name() == "written"; })) << name();
  replace_file(document("replaced"));
  EXPECT_TRUE(until([&] { return name() == "replaced"; })) << name();
  write_file(R"({"format": "metatap-inventory/1", "instances": [{"uuid": 1}]})");
  EXPECT_TRUE(until([&] { return !service_->state().source_error.empty(); }));
  EXPECT_THAT(service_->state().source_error, HasSubstr("/instances/0/uuid"));
  EXPECT_EQ(name(), "replaced");  // served on
  std::filesystem::remove(*options_.file);
  EXPECT_TRUE(
      until([&] { return service_->state().source_error.find("No such") != std::string::npos; }));
  EXPECT_EQ(name(), "replaced");
  replace_file(document("back"));
  EXPECT_TRUE(until([&] { return name() == "back"; })) << name();
  EXPECT_EQ(service_->state().source_error, "");
}

TEST_F(InventoryServiceTest, StartsWithABrokenFileAndWhatWasStored) {
  start();
  ASSERT_TRUE(apply(document("stored")));
  service_.reset();
  options_.file = directory_.path() / "inventory.json";
  write_file("{");
  start();
  EXPECT_EQ(name(), "stored");
  EXPECT_THAT(service_->state().source_error, HasSubstr("parse error"));
}

TEST_F(InventoryServiceTest, SetsPasswordsFromWorkers) {
  start();
  ASSERT_TRUE(apply(document("x")));
  const auto guard = asio::make_work_guard(control_);
  std::jthread control([&] { control_.run(); });
  asio::io_context worker;
  constexpr int kTries = 20;
  int done = 0, refused = 0;
  for (int i = 0; i < kTries; ++i) {
    asio::co_spawn(
        worker,
        [](InventoryService& service, int& stored, int& conflicts) -> asio::awaitable<void> {
          const auto status = co_await service.set_password("a", "secret");
          (status ? stored : conflicts)++;
          if (!status) {
            EXPECT_EQ(status.error().code, ErrorCode::conflict);
          }
          // Whoever has the answer sees the password.
          EXPECT_EQ(password_of(*service.current()->instances.at("a")), "secret");
        }(*service_, done, refused),
        asio::detached);
  }
  worker.run();
  control_.stop();
  control.join();
  EXPECT_EQ(done, 1);
  EXPECT_EQ(refused, kTries - 1);
}

TEST_F(InventoryServiceTest, OutlivesAFileThatIsNoFile) {
  options_.file = directory_.path() / "inventory.json";
  write_file(document("first"));
  start();
  ASSERT_EQ(name(), "first");
  const auto shows = [&](const char* text) {
    return until([&] { return service_->state().source_error.find(text) != std::string::npos; });
  };
  std::filesystem::remove(*options_.file);
  std::filesystem::create_directory(*options_.file);
  EXPECT_TRUE(shows("no regular file")) << service_->state().source_error;
  EXPECT_EQ(name(), "first");
  std::filesystem::remove(*options_.file);
  ASSERT_EQ(::mkfifo(options_.file->c_str(), 0600), 0);  // a reader would wait for a writer
  EXPECT_TRUE(shows("no regular file")) << service_->state().source_error;
  EXPECT_TRUE(service_->known());
  std::filesystem::remove(*options_.file);
  replace_file(document("back"));
  EXPECT_TRUE(until([&] { return name() == "back"; })) << name();
  EXPECT_EQ(service_->state().source_error, "");
  // Away and back, the very same file.
  std::filesystem::rename(*options_.file, directory_.path() / "aside");
  EXPECT_TRUE(shows("No such file"));
  std::filesystem::rename(directory_.path() / "aside", *options_.file);
  EXPECT_TRUE(until([&] { return service_->state().source_error.empty(); }));
}

TEST_F(InventoryServiceTest, ReadsItsFileAgainWhenToldTo) {
  options_.file = directory_.path() / "inventory.json";
  write_file(document("one"));
  const auto time = std::filesystem::last_write_time(*options_.file);
  start();
  write_file(document("two"));  // of the same size and, it says, the same time
  std::filesystem::last_write_time(*options_.file, time);
  service_->read_file_again();
  EXPECT_TRUE(until([&] { return name() == "two"; }));
}

TEST_F(InventoryServiceTest, KnowsNothingWhileItsFirstFileIsRefused) {
  options_.file = directory_.path() / "inventory.json";
  write_file("{");
  start();
  EXPECT_FALSE(service_->known());
  EXPECT_THAT(service_->state().unknown_because, HasSubstr("parse error"));
  write_file(R"({"format": "metatap-inventory/1"})");  // nothing, but said
  EXPECT_TRUE(until([&] { return service_->known(); }));
}

TEST_F(InventoryServiceTest, KnowsThatAnEmptyStoreHasNothing) {
  start();
  EXPECT_TRUE(service_->known());
}

TEST_F(InventoryServiceTest, TheFileIsTheOneSourceOfTruth) {
  options_.file = directory_.path() / "inventory.json";
  write_file(document("file"));
  start();
  EXPECT_TRUE(service_->rehearse(document("other")));
  for (const auto& refused :
       {apply(document("other")), put(R"({"uuid": "b"})", InventoryService::Mode::add),
        answer(service_->remove_instance("a"))}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::denied);
    EXPECT_THAT(refused.error().message, HasSubstr(options_.file->string()));
  }
  EXPECT_EQ(name(), "file");
  EXPECT_TRUE(answer(service_->set_password("a", "secret")));  // the guest's own word
  std::filesystem::last_write_time(*options_.file, std::filesystem::file_time_type::clock::now());
  write_file(document("touched"));
  EXPECT_TRUE(until([&] { return name() == "touched"; }));
  EXPECT_EQ(password_of(*service_->current()->instances.at("a")), "secret");
}

TEST_F(InventoryServiceTest, WhatIsDecidedOnceStays) {
  start();
  const auto wish = [](const char* name, std::string_view ports) {
    std::string text = R"({"format": "metatap-inventory/1", "networks": [{"id": "n"}],
        "instances": [{"uuid": "i", "display_name": ")" +
                       std::string(name) + R"("}], "ports": [)";
    for (const char id : ports) {
      text += std::string(text.ends_with("[") ? "" : ",") + R"({"id": ")" + id +
              R"(", "network_id": "n", "device_id": "i", "mac_address": "02:00:00:00:00:0)" + id +
              "\"}";
    }
    return text + "]}";
  };
  const auto order = [&] {
    std::map<std::int64_t, std::string> ports;
    for (const auto& [id, port] : service_->current()->ports) {
      ports[port->attached] += id;
    }
    std::string all;
    for (const auto& [place, ids] : ports) {
      all += ids;
    }
    return all;
  };
  ASSERT_TRUE(apply(wish("First Name", "cb")));
  EXPECT_EQ(order(), "cb");
  ASSERT_TRUE(apply(wish("Renamed", "abdc")));  // two hot-plugged, the list in another order
  EXPECT_EQ(order(), "cbad");
  EXPECT_EQ(service_->current()->instances.at("i")->hostname, "first-name");
  EXPECT_EQ(service_->current()->instances.at("i")->display_name, "Renamed");
  EXPECT_TRUE(service_->rehearse(wish("Renamed", "dcba"))->empty());
  ASSERT_TRUE(apply(wish("Renamed", "bad")));
  ASSERT_TRUE(apply(wish("Renamed", "cbad")));  // c was away
  EXPECT_EQ(order(), "badc");
  ASSERT_TRUE(put(R"({"ports": [{"id": "e", "network_id": "n", "device_id": "i",
                                 "mac_address": "02:00:00:00:00:0e"}]})",
                  InventoryService::Mode::add));
  ASSERT_TRUE(put(R"({"ports": [{"id": "a", "network_id": "n", "device_id": "i",
                                 "mac_address": "02:00:00:00:00:0f"}]})",
                  InventoryService::Mode::set));
  EXPECT_EQ(order(), "badce");
  service_.reset();
  start();
  EXPECT_EQ(order(), "badce");
  const auto exported = write_document(*service_->current());
  service_.reset();
  options_.state_path = directory_.path() / "another";
  start();
  ASSERT_TRUE(apply(exported));
  EXPECT_EQ(order(), "badce");
}

/// A database that takes its time, on which the test says when it goes on.
class SlowStore final : public Store {
 public:
  /// The test's side of it.
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool shut = false, throws = false, is_away = false;
    int asked = 0;
    std::function<void()> foreign;  ///< as if somebody else had changed it
    void set(bool closed) {
      const std::lock_guard lock(mutex);
      shut = closed;
      changed.notify_all();
    }
    void fail(bool always) {
      const std::lock_guard lock(mutex);
      throws = always;
    }
    void away(bool always) {
      const std::lock_guard lock(mutex);
      is_away = always;
    }
    int times() {
      const std::lock_guard lock(mutex);
      return asked;
    }
  };

  SlowStore(std::shared_ptr<Gate> gate, std::unique_ptr<Store> store)
      : gate_(std::move(gate)), store_(std::move(store)) {}
  Result<std::shared_ptr<const Inventory>> load() override { return pass(), store_->load(); }
  Result<InventoryChange> replace(const Inventory& wanted) override {
    return pass() ? store_->replace(wanted) : fail(ErrorCode::unavailable, "it is away");
  }
  Result<InventoryChange> set_password(std::string_view id, std::string_view text) override {
    return pass(), store_->set_password(id, text);
  }
  Result<InventoryChange> clear_password(std::string_view id) override {
    return pass(), store_->clear_password(id);
  }
  void on_foreign_change(std::function<void()> callback) override {
    gate_->foreign = std::move(callback);
  }
  Health health() const override { return store_->health(); }

 private:
  /// False: it is away, and says so.
  bool pass() {
    std::unique_lock lock(gate_->mutex);
    ++gate_->asked;
    gate_->changed.wait(lock, [this] { return !gate_->shut; });
    if (gate_->throws) {
      throw std::runtime_error("out of everything");
    }
    return !gate_->is_away;
  }
  std::shared_ptr<Gate> gate_;
  std::unique_ptr<Store> store_;
};

class SlowStoreTest : public InventoryServiceTest {
 protected:
  void start_slowly() {
    options_.database_timeout = 200ms;
    service_ = std::make_unique<InventoryService>(
        control_.get_executor(),
        std::make_unique<SlowStore>(gate_, open_store("", directory_.path(), 5s).value()),
        options_);
    service_->subscribe([this](const InventoryChange& change) { changes_.push_back(change); });
    ASSERT_TRUE(service_->start());
  }
  void TearDown() override { gate_->set(false); }

  std::shared_ptr<SlowStore::Gate> gate_ = std::make_shared<SlowStore::Gate>();
};

TEST_F(SlowStoreTest, WhatThrowsIsToldAndTriedAgain) {
  start_slowly();
  ASSERT_TRUE(apply(document("x")));
  gate_->fail(true);
  EXPECT_EQ(apply(document("y")).error().message, "out of everything");
  const int before = gate_->times();
  gate_->foreign();
  ASSERT_TRUE(until([&] { return gate_->times() > before; }));
  gate_->fail(false);
  // Another process' change, which is still looked for.
  auto theirs = open_store("", directory_.path(), 5s).value();
  auto wanted = *theirs->load().value();
  wanted.instances.erase("a");
  ASSERT_TRUE(theirs->replace(wanted));
  EXPECT_TRUE(until([&] {
    gate_->foreign();
    return name() == "(none)";
  }));
}

TEST_F(SlowStoreTest, WhatChangesWhileItIsReadIsReadNext) {
  start_slowly();
  ASSERT_TRUE(apply(document("x")));
  gate_->set(true);
  const int before = gate_->times();
  gate_->foreign();
  ASSERT_TRUE(until([&] { return gate_->times() == before + 1; }));
  for (int change = 0; change < 3; ++change) {
    gate_->foreign();
    control_.restart();
    control_.run_for(20ms);
  }
  gate_->set(false);
  EXPECT_TRUE(until([&] { return gate_->times() >= before + 2; }));
  control_.restart();
  control_.run_for(100ms);
  EXPECT_EQ(gate_->times(), before + 2) << "once for all three";
}

TEST_F(SlowStoreTest, ADocumentThatCouldNotBeStoredIsNotForgotten) {
  options_.source = InventorySource::libvirt;
  start_slowly();
  service_->follow(document("x"));
  ASSERT_TRUE(until([&] { return name() == "x"; }));
  gate_->away(true);
  service_->follow(document("y"));
  ASSERT_TRUE(until([&] { return !service_->state().source_error.empty(); }));
  EXPECT_EQ(name(), "x");
  gate_->away(false);
  const auto stored = [&] { return name() == "y"; };
  EXPECT_TRUE(until(stored) || until(stored)) << "nobody says it again";
  EXPECT_EQ(service_->state().source_error, "");
  // One that is refused is not tried again, and takes nothing away.
  const int before = gate_->times();
  service_->follow("{}");
  ASSERT_TRUE(until([&] { return !service_->state().source_error.empty(); }));
  EXPECT_EQ(name(), "y");
  EXPECT_EQ(gate_->times(), before);
}

TEST_F(SlowStoreTest, NobodyWaitsWithoutALimitAndNothingIsLost) {
  start_slowly();
  ASSERT_TRUE(apply(document("x")));
  gate_->set(true);
  const int before = gate_->times();
  const auto begun = answer(service_->set_password("a", "late"));
  ASSERT_FALSE(begun);
  EXPECT_EQ(begun.error().code, ErrorCode::unavailable);
  EXPECT_THAT(begun.error().message, HasSubstr("may still be stored"));
  const auto waiting = put(R"({"uuid": "b"})", InventoryService::Mode::add);
  ASSERT_FALSE(waiting);
  EXPECT_EQ(waiting.error().code, ErrorCode::unavailable);
  EXPECT_THAT(waiting.error().message, HasSubstr("nothing was changed"));
  EXPECT_EQ(name(), "x");
  // What had begun is published when it is done; what had not is never done.
  gate_->set(false);
  EXPECT_TRUE(
      until([&] { return password_of(*service_->current()->instances.at("a")) == "late"; }));
  EXPECT_TRUE(put(R"({"uuid": "c"})", InventoryService::Mode::add));
  EXPECT_FALSE(service_->current()->instances.contains("b"));
  EXPECT_EQ(gate_->times(), before + 2);
  for (std::size_t at = 1; at < changes_.size(); ++at) {
    EXPECT_EQ(changes_[at].before, changes_[at - 1].after);
  }
}

TEST_F(SlowStoreTest, StartsWithoutItAndTakesWhatComesLate) {
  gate_->set(true);
  options_.file = directory_.path() / "inventory.json";
  write_file(document("file"));
  start_slowly();
  EXPECT_FALSE(service_->known());
  EXPECT_EQ(name(), "(none)");
  gate_->set(false);
  EXPECT_TRUE(until([&] { return name() == "file"; }));
  EXPECT_TRUE(service_->known());
}

TEST(InventoryOptions, AreReadFromTheConfiguration) {
  const auto config = Config::parse(
      "[DEFAULT]\nstate_path = /s\n[inventory]\ndatabase = sqlite:////x\nfile = /f\n"
      "database_timeout = 7\n[database]\nconnection = mysql+pymysql://nova:hush@db/nova\n");
  ASSERT_TRUE(config);
  const auto options = InventoryOptions::from(*config);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->database, "sqlite:////x");
  EXPECT_EQ(options->database_timeout, 7s);
  EXPECT_TRUE(config->unread().empty());
  EXPECT_EQ(options->state_path, "/s");
  EXPECT_EQ(options->file, "/f");
}

TEST(InventoryOptions, TheHostIsKnownWhateverTheScope) {
  const auto read = [](const std::string& text) {
    return InventoryOptions::from(*Config::parse(text)).value();
  };
  std::array<char, 256> system{};
  ::gethostname(system.data(), system.size() - 1);
  EXPECT_EQ(read("").host, system.data());
  EXPECT_FALSE(read("").holds_part);
  EXPECT_TRUE(read("").editable());
  EXPECT_EQ(read("[DEFAULT]\nhost = h-1\n").host, "h-1");
  const auto part = read(
      "[DEFAULT]\nhost = h-1\n[inventory]\nscope = host\n"
      "database = postgresql://metatap@db/metatap\n");
  EXPECT_TRUE(part.holds_part);
  EXPECT_FALSE(part.editable());
}

/// Where each host says what there is, one database cannot be all hosts'.
TEST(InventoryOptions, LibvirtGoesWithADatabaseOfThisHostAlone) {
  const auto read = [](const std::string& database) {
    return InventoryOptions::from(
        *Config::parse("[inventory]\nsource = libvirt\ndatabase = " + database + "\n"));
  };
  EXPECT_TRUE(read(""));
  EXPECT_TRUE(read("sqlite:////x"));
  const auto refused = read("postgresql://metatap@db/metatap");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("sqlite:///PATH on this host"));
}

}  // namespace
}  // namespace metatap
