// SPDX-License-Identifier: Apache-2.0
#include "admin/audit_command.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/boot_time.hpp"
#include "base/file.hpp"
#include "ledger/book.hpp"
#include "ledger/files.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::admin {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AuditTest : public ::testing::Test {
 protected:
  struct Ran {
    int code = 0;
    std::string out, err;
  };
  AuditTest() {
    ledger::Book book(where_, {});
    const std::vector<std::string> entries{
        entry("port-1", "instance-1", ledger::Verdict::answered, 0),
        entry("port-2", "instance-2", ledger::Verdict::refused, -3600'000),
        ledger::entry_of(ledger::kGap, {{"lost", 7}, {"reason", "overrun"}}),
        entry("evil\x1b[31m\nport", "instance-3", ledger::Verdict::failed, 0)};
    EXPECT_TRUE(book.add(entries).status);
    EXPECT_TRUE(book.close());
  }
  static std::string entry(std::string port, std::string instance, ledger::Verdict verdict,
                           std::int64_t ago) {
    ledger::Access access;
    auto origin = std::make_shared<Origin>();
    origin->port_id = std::move(port);
    access.origin = origin;
    access.instance = std::move(instance);
    access.at = boot_time() + ago;
    access.status = 200;
    access.verdict = verdict;
    return ledger::entry_of(access);
  }
  Ran run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--socket", "/nonexistent/admin.sock"});
    std::istringstream in;
    std::ostringstream out, err;
    const int code = run_cli(std::move(arguments), in, out, err);
    return {code, out.str(), err.str()};
  }
  Ran audit(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"audit", where_.string()});
    return run(std::move(arguments));
  }

  TemporaryDirectory directory_;
  std::filesystem::path where_ = directory_.path() / "ledger";
};

TEST_F(AuditTest, ShowsWhoReadWhat) {
  const auto all = audit({});
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.out, HasSubstr("port port-1 instance instance-1"));
  EXPECT_THAT(all.out, HasSubstr("gap: 7 answers are missing (overrun)"));
  EXPECT_THAT(all.out, HasSubstr("port evil?[31m?port instance")) << "nothing for the terminal";
  EXPECT_EQ(std::ranges::count(all.out, '\n'), 7);
  EXPECT_EQ(audit({"--json"}).out, *read_file(where_ / ledger::file_name(1)));
}

TEST_F(AuditTest, FiltersShowNoOthersAndAllGaps) {
  const auto one = audit({"--port", "port-1"});
  EXPECT_THAT(one.out, HasSubstr("port-1"));
  EXPECT_THAT(one.out, Not(HasSubstr("port-2")));
  EXPECT_THAT(one.out, HasSubstr("gap"));
  EXPECT_THAT(audit({"--instance", "instance-"}).out, HasSubstr("port-2"));
  EXPECT_THAT(audit({"--instance", "instance-2"}).out, Not(HasSubstr("port-1")));
  EXPECT_THAT(audit({"--verdict", "refused"}).out, HasSubstr("port-2"));
  EXPECT_THAT(audit({"--verdict", "refused"}).out, Not(HasSubstr("port-1")));
  EXPECT_THAT(audit({"--since", "10m"}).out, Not(HasSubstr("port-2")));
  EXPECT_THAT(audit({"--since", "2h"}).out, HasSubstr("port-2"));
  EXPECT_THAT(audit({"--since", "2099-01-01"}).out, IsEmpty());
  EXPECT_EQ(audit({"--verdict", "maybe"}).code, 2);
  EXPECT_EQ(audit({"--since", "yesterday"}).code, 2);
}

TEST_F(AuditTest, UnderstandsMoments) {
  EXPECT_EQ(since_text("2026-11-26T12:00", 0).value_or(""), "2026-11-26T12:00");
  EXPECT_EQ(since_text("1d", 86'400'500).value_or(""), "1970-01-01T00:00:00.500Z");
  for (const auto* bad : {"", "5", "-5m", "5x", "2026", "2026-11-26 12:00", "99999999999999999999s",
                          "9223372036854775807d", "2026-11-26T12:00:00.000ZZ"}) {
    EXPECT_FALSE(since_text(bad, 0)) << bad;
  }
}

TEST_F(AuditTest, VerifiesAndNamesWhatIsBroken) {
  const auto good = audit({"--verify"});
  EXPECT_EQ(good.code, 0);
  EXPECT_THAT(good.out, HasSubstr("unbroken"));
  EXPECT_THAT(good.out, HasSubstr("1 gaps: 7 answers"));
  EXPECT_EQ(Terminal::Json::parse(audit({"--verify", "--json"}).out)["last"], 7);
  const auto file = where_ / ledger::file_name(1);
  auto text = *read_file(file);
  text.replace(text.find("refused"), 7, "cut\",  ");
  std::ofstream(file) << text;
  const auto bad = audit({"--verify"});
  EXPECT_EQ(bad.code, 1);
  EXPECT_THAT(bad.out, HasSubstr("BROKEN at access-000000000001.jsonl:4"));
  EXPECT_EQ(Terminal::Json::parse(audit({"--verify", "--json"}).out)["last"], 3);
  const auto listed = audit({});
  EXPECT_EQ(listed.code, 1);
  EXPECT_THAT(listed.err, HasSubstr("not all as it was written"));
}

TEST_F(AuditTest, SaysWhereThereIsNone) {
  EXPECT_EQ(run({"audit", (directory_.path() / "nothing").string()}).code, 3);
  EXPECT_EQ(run({"audit", directory_.path().string()}).code, 3);
  EXPECT_EQ(run({"audit"}).code, 5) << "no daemon to ask";
}

}  // namespace
}  // namespace metatap::admin
