// SPDX-License-Identifier: Apache-2.0
#include "inventory/service.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <fstream>
#include <set>
#include <thread>

#include "base/config.hpp"
#include "inventory/step.hpp"
#include "unit/inventory/samples.hpp"
#include "unit/inventory/temporary_directory.hpp"

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
  InventoryOptions options_{"", directory_.path(), std::nullopt};
  asio::io_context control_;
  std::unique_ptr<InventoryService> service_;
  std::vector<InventoryChange> changes_;
};

TEST_F(InventoryServiceTest, PublishesAndTellsWhatChanged) {
  start();
  EXPECT_TRUE(changes_.empty());
  const auto rehearsed = service_->apply(kSample, true);
  ASSERT_TRUE(rehearsed) << rehearsed.error().message;
  EXPECT_FALSE(rehearsed->empty());
  EXPECT_TRUE(service_->current()->instances.empty());
  ASSERT_TRUE(service_->apply(kSample));
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_THAT(changes_[0].instances, ElementsAre("i-1", "i-2"));
  EXPECT_TRUE(changes_[0].before->instances.empty());
  EXPECT_EQ(changes_[0].after, service_->current());
  EXPECT_TRUE(service_->apply(kSample)->empty());
  EXPECT_EQ(changes_.size(), 1U);  // nothing changed, nobody is told
  EXPECT_TRUE(service_->apply(kSample, true)->empty());
}

TEST_F(InventoryServiceTest, TellsWhatWasStoredAtTheStart) {
  start();
  ASSERT_TRUE(service_->apply(kSample));
  service_.reset();
  changes_.clear();
  start();
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_EQ(changes_[0].instances.size(), 2U);
}

TEST_F(InventoryServiceTest, TellsWhatAnotherProcessStoredWithItsOwnChange) {
  start();
  ASSERT_TRUE(service_->apply(document("x")));
  auto other = InventoryService::open(control_.get_executor(), options_);
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE((*other)->start());
  ASSERT_TRUE((*other)->put(R"({"uuid": "theirs"})", InventoryService::Mode::add));
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
  ASSERT_TRUE(service_->apply(kSample));
  const auto before = service_->current();
  const auto broken = service_->apply(R"({"format": "metatap-inventory/1", "ports": [{}]})");
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("/ports/0: \"id\" is required"));
  EXPECT_EQ(service_->current(), before);
}

TEST_F(InventoryServiceTest, EditsOneObjectAtATime) {
  using enum InventoryService::Mode;
  start();
  ASSERT_TRUE(service_->apply(kSample));
  ASSERT_TRUE(service_->put(R"({"uuid": "a", "name": "one"})", add));
  EXPECT_EQ(service_->put(R"({"uuid": "a", "name": "two"})", add).error().code,
            ErrorCode::conflict);
  ASSERT_TRUE(service_->put(R"({"uuid": "a", "name": "two"})", set));
  EXPECT_EQ(name(), "two");
  EXPECT_THAT(changes_.back().instances, ElementsAre("a"));
  ASSERT_TRUE(service_->put(R"({"ports": [{"id": "p-a", "network_id": "n-1", "device_id": "a",
                                           "mac_address": "02:00:00:00:00:0a"}]})",
                            add));
  ASSERT_TRUE(service_->remove_instance("a"));
  EXPECT_EQ(name(), "(none)");
  EXPECT_FALSE(service_->current()->ports.contains("p-a"));
  EXPECT_TRUE(service_->current()->ports.contains("p-1"));
  EXPECT_EQ(service_->remove_instance("a").error().code, ErrorCode::not_found);
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
  EXPECT_TRUE(until([&] { return !service_->state().file_error.empty(); }));
  EXPECT_THAT(service_->state().file_error, HasSubstr("/instances/0/uuid"));
  EXPECT_EQ(name(), "replaced");  // served on
  std::filesystem::remove(*options_.file);
  EXPECT_TRUE(
      until([&] { return service_->state().file_error.find("No such") != std::string::npos; }));
  EXPECT_EQ(name(), "replaced");
  replace_file(document("back"));
  EXPECT_TRUE(until([&] { return name() == "back"; })) << name();
  EXPECT_EQ(service_->state().file_error, "");
}

TEST_F(InventoryServiceTest, StartsWithABrokenFileAndWhatWasStored) {
  start();
  ASSERT_TRUE(service_->apply(document("stored")));
  service_.reset();
  options_.file = directory_.path() / "inventory.json";
  write_file("{");
  start();
  EXPECT_EQ(name(), "stored");
  EXPECT_THAT(service_->state().file_error, HasSubstr("parse error"));
}

TEST_F(InventoryServiceTest, SetsPasswordsFromWorkers) {
  start();
  ASSERT_TRUE(service_->apply(document("x")));
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

TEST(InventoryOptions, AreReadFromTheConfiguration) {
  const auto config = Config::parse(
      "[DEFAULT]\nstate_path = /s\n[database]\nconnection = sqlite:////x\n[inventory]\nfile = "
      "/f\n");
  ASSERT_TRUE(config);
  const auto options = InventoryOptions::from(*config);
  ASSERT_TRUE(options);
  EXPECT_EQ(options->connection, "sqlite:////x");
  EXPECT_EQ(options->state_path, "/s");
  EXPECT_EQ(options->file, "/f");
}

}  // namespace
}  // namespace metatap
