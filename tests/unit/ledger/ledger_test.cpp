// SPDX-License-Identifier: Apache-2.0
#include "ledger/ledger.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/boot_time.hpp"
#include "base/file.hpp"
#include "ledger/audit.hpp"
#include "ledger/files.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::ledger {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 2000; ++i) {
    if (holds()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

Access access(std::string port = "port-1", std::int64_t at = boot_time()) {
  Access made;
  auto origin = std::make_shared<Origin>();
  origin->port_id = std::move(port);
  origin->network_id = "network-1";
  made.origin = origin;
  made.instance = "instance-1";
  made.address = "10.0.0.5";
  made.at = at;
  made.bytes = 17;
  made.status = 200;
  made.path = PathClass::user_data;
  made.token = Token::valid;
  made.method = "GET";
  return made;
}

std::vector<std::string> entries(unsigned count) {
  return {count, entry_of(access())};
}

class LedgerTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path where() const { return directory_.path() / "ledger"; }
  Book book(BookLimits limits = {}) { return {where(), limits}; }
  void add(Book& to, unsigned count) {
    const auto list = entries(count);
    const auto added = to.add(list);
    EXPECT_TRUE(added.status) << added.status.error().message;
    EXPECT_EQ(added.entries, count);
  }
  Audit read() {
    records_.clear();
    auto audit = read_ledger(where(), [this](const Json& record, std::string_view) {
      records_.push_back(record);
      return true;
    });
    EXPECT_TRUE(audit) << audit.error().message;
    return audit ? *audit : Audit{};
  }
  /// The kinds of all records, those of answers as how many there are.
  std::vector<std::string> kinds() {
    EXPECT_EQ(read().broken, "");
    std::vector<std::string> kinds;
    unsigned answers = 0;
    const auto flush = [&] {
      if (std::exchange(answers, 0) != 0) {
        kinds.emplace_back("access");
      }
    };
    for (const auto& record : records_) {
      if (record["kind"] == "access") {
        ++answers;
      } else {
        flush();
        kinds.push_back(record["kind"]);
      }
    }
    flush();
    return kinds;
  }
  std::vector<std::filesystem::path> files() {
    const UniqueFd fd(::open(where().c_str(), O_RDONLY | O_DIRECTORY));
    std::vector<std::filesystem::path> paths;
    const auto firsts = files_in(fd.get());
    for (const auto first : *firsts) {
      paths.push_back(where() / file_name(first));
    }
    return paths;
  }
  static std::string text_of(const std::filesystem::path& file) { return *read_file(file); }
  static void write(const std::filesystem::path& file, const std::string& text,
                    std::ios::openmode mode = std::ios::trunc) {
    std::ofstream(file, mode | std::ios::out) << text;
  }

  TemporaryDirectory directory_;
  std::vector<Json> records_;
};

TEST_F(LedgerTest, ARecordSaysWhoReadWhat) {
  auto to = book();
  add(to, 1);
  EXPECT_EQ(read().broken, "");
  ASSERT_EQ(records_.size(), 3U);
  const auto& record = records_[2];
  EXPECT_EQ(record["record"], 3);
  EXPECT_THAT(record["time"].get<std::string>(),
              ::testing::MatchesRegex("20..-..-..T..:..:..\\....Z"));
  EXPECT_EQ(record["kind"], "access");
  EXPECT_EQ(record["port"], "port-1");
  EXPECT_EQ(record["instance"], "instance-1");
  EXPECT_EQ(record["network"], "network-1");
  EXPECT_EQ(record["address"], "10.0.0.5");
  EXPECT_EQ(record["method"], "GET");
  EXPECT_EQ(record["path"], "user_data");
  EXPECT_EQ(record["token"], "valid");
  EXPECT_EQ(record["verdict"], "answered");
  EXPECT_EQ(record["status"], 200);
  EXPECT_EQ(record["bytes"], 17);
  EXPECT_FALSE(record.contains("reason"));
}

TEST_F(LedgerTest, TheChainIsWhatTheDocumentsSay) {
  EXPECT_EQ(link_of("", "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(link_of("a", "bc"), link_of("", "abc"));
  ChainEnd end;
  const auto first = next_line(end, R"({"kind":"start"})");
  const auto link = link_of(kNoLink, R"({"record":1,"kind":"start"})");
  EXPECT_EQ(first, R"({"record":1,"kind":"start","chain":")" + link + "\"}\n");
  EXPECT_EQ(end, (ChainEnd{1, link}));
}

/// Whatever the words are, a record is one line of its own, and of ASCII alone.
TEST_F(LedgerTest, NothingInARecordEndsIt) {
  auto to = book();
  auto bad = access("port\n{\"record\":9}");
  bad.instance = "a\"},\"x\":\"\r\n\x7f\xc2\x9b \xff\\";
  const std::vector<std::string> list{entry_of(bad)};
  EXPECT_TRUE(to.add(list).status);
  EXPECT_EQ(read().broken, "");
  ASSERT_EQ(records_.size(), 3U);
  EXPECT_EQ(records_[2]["port"], "port\n{\"record\":9}");
  const auto text = text_of(files()[0]);
  EXPECT_EQ(std::ranges::count(text, '\n'), 3);
  EXPECT_TRUE(std::ranges::all_of(
      text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~') || c == 0x7f; }));
}

TEST_F(LedgerTest, WhatIsAskedForIsAWordHoweverItIsSpelt) {
  EXPECT_EQ(known_method("GET"), "GET");
  EXPECT_EQ(known_method("get\r\nX"), "other");
  for (const auto* target :
       {"/latest/user-data", "/latest//user%2ddata", "//latest/x/../user-data/",
        "/latest/user-data?x", "/openstack/latest/user_data", "//openstack/%6catest/user_data/"}) {
    EXPECT_EQ(known_path(target), PathClass::user_data) << target;
  }
  EXPECT_EQ(known_path("/\n\"user-data"), PathClass::other);
}

TEST_F(LedgerTest, AFileIsFollowedByTheNextAndTheOldestGo) {
  auto to = book({.file_size = 4096, .files = 3});
  for (int i = 0; i < 60; ++i) {
    add(to, 1);
  }
  EXPECT_EQ(files().size(), 3U);
  auto audit = read();
  EXPECT_EQ(audit.broken, "");
  EXPECT_GT(audit.first, 1U);
  EXPECT_EQ(audit.end, to.end());
  EXPECT_EQ(records_[0]["kind"], "file");
  for (const auto& file : files()) {
    EXPECT_LT(text_of(file).size(), 5000U);
  }
  add(to, 100);
  EXPECT_EQ(read().broken, "") << "more than a file at once";
}

TEST_F(LedgerTest, ARestartGoesOnAndADeathLeavesAGap) {
  {
    auto one = book();
    add(one, 1);
    EXPECT_TRUE(one.close());
  }
  {
    auto two = book();
    add(two, 1);
  }  // as killed
  auto three = book();
  add(three, 1);
  EXPECT_THAT(kinds(), ElementsAre("file", "start", "access", "end", "start", "access", "gap",
                                   "start", "access"));
  const auto audit = read();
  EXPECT_EQ(audit.gaps, 1U);
  EXPECT_TRUE(records_[6]["lost"].is_null());
  EXPECT_EQ(records_[6]["reason"], "killed");
}

TEST_F(LedgerTest, TwoWorkersTakeTurns) {
  std::optional<Book> former(book({.file_size = 3000, .files = 100}));
  add(*former, 2);
  auto next = book({.file_size = 3000, .files = 100});
  for (int i = 0; i < 30; ++i) {
    add(next, 1);
    add(*former, 2);
  }
  EXPECT_EQ(read().broken, "");
  EXPECT_TRUE(former->close());
  former.reset();
  add(next, 1);
  EXPECT_TRUE(next.close());
  EXPECT_EQ(std::ranges::count_if(records_, [](const Json& r) { return r["kind"] == "gap"; }), 0);
  const auto all = kinds();
  EXPECT_EQ(std::ranges::count(all, "end"), 1) << "the last one's";
  EXPECT_EQ(all.back(), "end");
  EXPECT_EQ(std::ranges::count(all, "start"), 2);
}

TEST_F(LedgerTest, TheLastOfTwoThatIsKilledLeavesAGap) {
  std::optional<Book> former(book());
  add(*former, 1);
  {
    auto next = book();
    add(next, 1);
    EXPECT_TRUE(former->close());
    former.reset();
  }
  auto after = book();
  add(after, 1);
  EXPECT_THAT(kinds(),
              ElementsAre("file", "start", "access", "start", "access", "gap", "start", "access"));
}

TEST_F(LedgerTest, WhoeverHasTheDirectoryIsNotDisturbed) {
  auto to = book();
  add(to, 1);
  const UniqueFd other(::open(where().c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  const auto list = entries(1);
  const auto added = to.add(list);
  EXPECT_EQ(added.entries, 0U);
  ASSERT_FALSE(added.status);
  EXPECT_EQ(added.status.error().code, ErrorCode::unavailable);
}

TEST_F(LedgerTest, HalfARecordIsCutOff) {
  {
    auto to = book();
    add(to, 3);
  }
  const auto whole = text_of(files()[0]);
  for (const auto& rest : {std::string("{\"record\":6,\"ti"), std::string(300, '\0')}) {
    write(files()[0], whole + rest);
    EXPECT_TRUE(read().half);
    EXPECT_EQ(read().broken, "");
    {
      auto to = book();
      add(to, 1);
    }
    EXPECT_THAT(kinds(), ElementsAre("file", "start", "access", "gap", "start", "access"));
    EXPECT_THAT(text_of(files()[0]), StartsWith(whole));
  }
}

TEST_F(LedgerTest, AFileWithoutARecordGoesOnFromTheOneBefore) {
  {
    auto to = book();
    add(to, 3);
    ASSERT_TRUE(to.close());
  }
  write(where() / file_name(7), "");
  ASSERT_EQ(::chmod((where() / file_name(7)).c_str(), 0600), 0);
  auto to = book();
  add(to, 1);
  EXPECT_EQ(files().size(), 2U);
  EXPECT_THAT(kinds(), ElementsAre("file", "start", "access", "end", "file", "start", "access"));
}

TEST_F(LedgerTest, WhatWasChangedIsFound) {
  {
    auto to = book({.file_size = 3000, .files = 100});
    for (int i = 0; i < 40; ++i) {
      add(to, 1);
    }
  }
  const auto list = files();
  ASSERT_GT(list.size(), 3U);
  const auto whole = text_of(list[1]);
  const auto lines = [&] {
    std::vector<std::string> each;
    std::istringstream in(whole);
    for (std::string line; std::getline(in, line);) {
      each.push_back(line + "\n");
    }
    return each;
  }();
  const auto name = list[1].filename().string();
  const auto number = [&](std::size_t line) { return Json::parse(lines[line])["record"].dump(); };
  const auto join = [](const std::vector<std::string>& each) {
    std::string text;
    for (const auto& line : each) {
      text += line;
    }
    return text;
  };
  const auto broken_by = [&](const std::string& text) {
    write(list[1], text);
    return read().broken;
  };
  auto changed = lines;
  changed[2].replace(changed[2].find("instance-1"), 10, "instance-2");
  EXPECT_THAT(broken_by(join(changed)),
              StartsWith(name + ":3: record " + number(2) + ": it is not"));
  changed = lines;
  changed.erase(changed.begin() + 2);
  EXPECT_THAT(broken_by(join(changed)),
              StartsWith(name + ":3: record " + number(3) + ": record " + number(2)));
  changed = lines;
  std::swap(changed[2], changed[3]);
  EXPECT_THAT(broken_by(join(changed)), StartsWith(name + ":3: "));
  changed = lines;
  changed.insert(changed.begin() + 3, changed[2]);
  EXPECT_THAT(broken_by(join(changed)), StartsWith(name + ":4: "));
  changed = lines;
  changed.insert(changed.begin() + 1, "\n");
  EXPECT_THAT(broken_by(join(changed)), StartsWith(name + ":2: it is no record"));
  EXPECT_THAT(broken_by(whole.substr(0, whole.size() - 9)), HasSubstr("half a record"));
  // One that computes its links anew is found where the next file goes on.
  changed = lines;
  ChainEnd end{Json::parse(lines[0])["record"].get<std::uint64_t>() - 1,
               Json::parse(lines[0])["previous"]};
  for (auto& line : changed) {
    auto entry = Json::parse(line);
    entry.erase("record");
    entry.erase("chain");
    if (entry.contains("instance")) {
      entry["instance"] = "instance-2";
    }
    line = next_line(end, entry.dump());
  }
  EXPECT_THAT(broken_by(join(changed)), StartsWith(list[2].filename().string() + ":1: "));
  std::filesystem::remove(list[1]);
  EXPECT_THAT(read().broken, StartsWith(list[2].filename().string() + ":1: "));
}

TEST_F(LedgerTest, WhatIsNotOursIsNotWrittenTo) {
  const auto list = entries(1);
  const auto refused = [&] {
    auto to = book();
    const auto added = to.add(list);
    EXPECT_EQ(added.entries, added.status ? 1U : 0U);
    return added.status ? "" : added.status.error().message;
  };
  std::filesystem::create_directory(directory_.path() / "other");
  std::filesystem::create_directory_symlink(directory_.path() / "other", where());
  EXPECT_THAT(refused(), HasSubstr("symbolic link"));
  Book slash(where() / "", {});
  EXPECT_FALSE(slash.add(list).status) << "nor by another spelling of it";
  std::filesystem::remove(where());
  write(where(), "a file");
  EXPECT_THAT(refused(), HasSubstr("no directory"));
  std::filesystem::remove(where());
  std::filesystem::create_directory(where());
  ASSERT_EQ(::chmod(where().c_str(), 0777), 0);
  EXPECT_THAT(refused(), HasSubstr("nobody else may write there"));
  ASSERT_EQ(::chmod(where().c_str(), 0700), 0);
  EXPECT_EQ(refused(), "");
  const auto file = files()[0];
  ASSERT_EQ(::chmod(file.c_str(), 0666), 0);
  EXPECT_THAT(refused(), HasSubstr("move it away"));
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  std::filesystem::create_hard_link(file, directory_.path() / "another name");
  EXPECT_THAT(refused(), HasSubstr("move it away"));
  std::filesystem::remove(file);
  std::filesystem::create_symlink(directory_.path() / "another name", file);
  EXPECT_NE(refused(), "");
  std::filesystem::remove(file);
  write(file, "what is no record\n");
  ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
  EXPECT_THAT(refused(), HasSubstr("no record"));
}

TEST_F(LedgerTest, WhatIsTakenAwayIsMissedAndAnotherDirectoryBeginsAnew) {
  auto to = book({.file_size = 2000, .files = 100});
  for (int i = 0; i < 10; ++i) {
    add(to, 1);
  }
  const auto last = to.end();
  for (const auto& file : files()) {
    std::filesystem::remove(file);
  }
  add(to, 1);
  const auto audit = read();
  EXPECT_EQ(audit.first, last.record + 1);
  EXPECT_EQ(records_[0]["previous"], last.link);
  std::filesystem::rename(where(), directory_.path() / "away");
  add(to, 1);
  EXPECT_THAT(kinds(), ElementsAre("file", "start", "access"));
}

/// A full disk: what cannot be written whole leaves nothing behind.
TEST_F(LedgerTest, AWriteThatFailsLeavesNothing) {
  auto to = book();
  add(to, 1);
  const auto before = text_of(files()[0]);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit full{before.size() + 1000, old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  const auto list = entries(10);
  const auto added = to.add(list);
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(added.status);
  EXPECT_EQ(added.entries, 0U);
  EXPECT_EQ(text_of(files()[0]), before);
  add(to, 10);
  EXPECT_EQ(read().broken, "");
  EXPECT_EQ(records_.size(), 13U);
}

TEST_F(LedgerTest, WhatWasToldIsWrittenInItsOrder) {
  {
    Ledger ledger({where(), {}}, 2);
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(ledger.inbox(i % 2).put(access("port-" + std::to_string(i), 1000 + i)));
    }
    EXPECT_TRUE(eventually([&] { return ledger.health().records >= 100; }));
    EXPECT_EQ(ledger.health().problem, "");
    EXPECT_TRUE(ledger.inbox(1).put(access("last", 2000)));
  }
  EXPECT_EQ(read().broken, "");
  std::vector<std::int64_t> times;
  for (const auto& record : records_) {
    if (record["kind"] == "access") {
      times.push_back(record["up_ms"]);
    }
  }
  EXPECT_EQ(times.size(), 101U);
  EXPECT_EQ(times.back(), 2000);
  EXPECT_EQ(records_.back()["kind"], "end");
}

TEST_F(LedgerTest, WhatIsToldTooFastIsCountedAndStandsAsAGap) {
  constexpr std::size_t kTold = 3 * Ledger::kRoom;
  {
    Ledger ledger({where(), {}}, 1);
    EXPECT_TRUE(eventually([&] { return ledger.health().end.record != 0; }));
    const UniqueFd other(::open(where().c_str(), O_RDONLY | O_DIRECTORY));
    ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);  // a disk that takes its time
    for (std::size_t i = 0; i < kTold; ++i) {
      ledger.inbox(0).put(access());
    }
    ::flock(other.get(), LOCK_UN);
    EXPECT_TRUE(eventually([&] { return ledger.health().lost != 0; }));
  }
  const auto audit = read();
  EXPECT_EQ(audit.broken, "");
  EXPECT_GE(audit.gaps, 1U);
  const auto written = std::ranges::count_if(
      records_, [](const Json& record) { return record["kind"] == "access"; });
  EXPECT_EQ(static_cast<std::uint64_t>(written) + audit.lost, kTold);
}

TEST_F(LedgerTest, ADirectoryThatCannotBeHadIsAProblemUntilItCan) {
  write(where(), "in the way");
  Ledger ledger({where(), {}}, 1);
  EXPECT_TRUE(eventually([&] { return !ledger.health().problem.empty(); }));
  EXPECT_TRUE(ledger.inbox(0).put(access()));
  std::filesystem::remove(where());
  EXPECT_TRUE(eventually([&] { return ledger.health().problem.empty(); }));
  EXPECT_TRUE(eventually([&] { return ledger.health().records == 1; }));
}

TEST_F(LedgerTest, WhereNothingIsThereIsNoLedger) {
  const auto nothing = [](const Json&, std::string_view) { return true; };
  EXPECT_EQ(read_ledger(where(), nothing).error().code, ErrorCode::not_found);
  std::filesystem::create_directory(where());
  EXPECT_EQ(read_ledger(where(), nothing).error().code, ErrorCode::not_found);
  write(where() / "access-x.jsonl", "not looked at");
  EXPECT_FALSE(read_ledger(where(), nothing));
}

}  // namespace
}  // namespace metatap::ledger
