// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_tables.hpp"

#include <optional>
#include <string_view>
#include <utility>

#include "inventory/difference.hpp"
#include "inventory/row.hpp"

namespace metatap {
namespace {

/// So many commits are kept. Whoever has missed more reads everything.
constexpr std::int64_t kCommitsKept = 10'000;

// Whose column is which, in what is read.
enum Column : int { kRevision, kMark, kFollows, kKind, kId, kBody, kNetworkInfo, kPlace };

constexpr auto kReadEverything = R"(
    SELECT s.revision, now.mark, false, o.kind, o.id, o.body, o.network_info, o.place
    FROM metatap_state s
    LEFT JOIN metatap_commit now ON now.revision = s.revision
    LEFT JOIN metatap_object o ON true)";

/// The same of what host $1 needs.
std::string read_part() {
  return postgres::kNeededPorts + std::string(R"(,
    part AS (
      SELECT o.* FROM needed n JOIN metatap_object o ON o.kind = 'ports' AND o.id = n.id
      UNION ALL SELECT o.* FROM (SELECT DISTINCT device FROM needed) d JOIN metatap_object o
                ON o.kind IN ('instances', 'routers') AND o.id = d.device
      UNION ALL SELECT o.* FROM networks n JOIN metatap_object o
                ON o.kind = 'networks' AND o.id = n.network
      UNION ALL SELECT o.* FROM networks n JOIN metatap_object o
                ON o.kind = 'subnets' AND o.network = n.network)
    SELECT s.revision, now.mark, false, p.kind, p.id, p.body, p.network_info, p.place
    FROM metatap_state s
    LEFT JOIN metatap_commit now ON now.revision = s.revision
    LEFT JOIN part p ON true)");
}

/// What the commits since the one of that number and mark changed; an object without a body is
/// gone. `follows`: that one is known, and all since then were noted. Of a host ($3; empty: none)
/// the commits that concern it. The number is asked of the changes too, where it follows: else a
/// planner that thinks of the commit that brought everything would read all there are.
constexpr auto kReadChanges = R"(
    SELECT s.revision, now.mark,
           now.mark IS NOT NULL AND s.revision >= $1 AND EXISTS (
             SELECT FROM metatap_commit WHERE revision = $1 AND mark = $2) AS follows,
           c.kind, c.id, o.body, o.network_info, o.place
    FROM metatap_state s
    LEFT JOIN metatap_commit now ON now.revision = s.revision
    LEFT JOIN (SELECT DISTINCT c.kind, c.id FROM metatap_commit t JOIN metatap_change c
                 ON c.revision = t.revision AND c.revision > $1
               WHERE t.revision > $1 AND ($3 = '' OR t.hosts IS NULL OR $3 = ANY (t.hosts))) c
      ON true
    LEFT JOIN metatap_object o ON o.kind = c.kind AND o.id = c.id)";

/// A commit that does not follow one that was noted, as programs of older versions make them, ends
/// what is known of the commits before it.
constexpr auto kNoteCommit = R"(
    WITH old AS (
      DELETE FROM metatap_commit
      WHERE revision <= $1::bigint - $2::bigint
         OR NOT EXISTS (SELECT FROM metatap_commit WHERE revision = $1::bigint - 1)),
    forgotten AS (DELETE FROM metatap_change WHERE revision <= $1::bigint - $2::bigint)
    INSERT INTO metatap_commit
    VALUES ($1::bigint, gen_random_uuid()::text, $3::text[]) RETURNING mark)";

/// A host that no commit has concerned for long reads, to be within what is kept.
constexpr auto kAnythingNew = R"(
    SELECT s.revision <> $1::bigint AND (
             $2 = '' OR now.mark IS NULL OR s.revision < $1::bigint
             OR s.revision - $1::bigint > $3::bigint / 10
             OR EXISTS (SELECT FROM metatap_commit
                        WHERE revision > $1::bigint AND (hosts IS NULL OR $2 = ANY (hosts))))
    FROM metatap_state s LEFT JOIN metatap_commit now ON now.revision = s.revision)";

constexpr auto kPut = R"(
    WITH noted AS (INSERT INTO metatap_change VALUES ($6, $1, $2))
    INSERT INTO metatap_object (kind, id, body, network_info, place) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (kind, id) DO UPDATE
    SET body = EXCLUDED.body, network_info = EXCLUDED.network_info, place = EXCLUDED.place)";

constexpr auto kErase = R"(
    WITH noted AS (INSERT INTO metatap_change VALUES ($3, $1, $2))
    DELETE FROM metatap_object WHERE kind = $1 AND id = $2)";

std::string_view view(const pqxx::field& field) {
  return {field.c_str(), field.size()};
}

/// The object of a row with a body.
Status add(Inventory& inventory, const pqxx::row& row) {
  const auto info = row[kNetworkInfo];
  const auto place = row[kPlace];
  return add_row(inventory, view(row[kKind]), view(row[kBody]),
                 info.is_null() ? std::nullopt : std::optional(std::string(view(info))),
                 place.is_null() ? std::nullopt : std::optional(place.as<std::int64_t>()));
}

}  // namespace

void PostgresTables::prepare(pqxx::connection& connection) const {
  {
    // All statements look rows up by an index, a few of many; a planner that has no statistics yet
    // would rather read and hash whole tables.
    pqxx::nontransaction setup(connection);
    setup.exec(
        "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; "
        "SET jit = off");
  }
  connection.prepare("changes", kReadChanges);
  if (!host_.empty()) {
    connection.prepare("part", read_part());
  }
  postgres::prepare_concerned(connection);
  connection.prepare("put", kPut);
  connection.prepare("erase", kErase);
  connection.prepare("numbers",
                     "SELECT space, number, uuid FROM metatap_ec2_id WHERE revision > $1");
  connection.prepare("number", "INSERT INTO metatap_ec2_id VALUES ($1, $2, $3, $4)");
  connection.prepare("commit", kNoteCommit);
  connection.prepare("revise", "UPDATE metatap_state SET revision = $1");
}

Status PostgresTables::read(pqxx::transaction_base& work, AnswerLimit::Call& call) {
  if (!mark_.empty()) {
    auto done = read_changes(work, call);
    if (!done) {
      return tl::make_unexpected(std::move(done.error()));
    }
    if (*done) {
      return {};
    }
  }
  return read_everything(work, call);
}

Status PostgresTables::read_everything(pqxx::transaction_base& work, AnswerLimit::Call& call) {
  call.heard();
  const auto rows = host_.empty() ? work.exec(kReadEverything) : work.exec_prepared("part", host_);
  call.pause();
  auto inventory = std::make_shared<Inventory>();
  Status status;
  for (const auto& row : rows) {
    if (status && !row[kKind].is_null()) {
      status = add(*inventory, row);
    }
  }
  call.heard();
  if (!status) {
    return fail(status.error().code, where_ + ": " + status.error().message);
  }
  inventory->revision = rows[0][kRevision].as<std::uint64_t>();
  settle(state_->networks, inventory->networks);
  settle(state_->subnets, inventory->subnets);
  settle(state_->routers, inventory->routers);
  settle(state_->ports, inventory->ports);
  settle(state_->instances, inventory->instances);
  state_ = std::move(inventory);
  mark_ = rows[0][kMark].is_null() ? "" : rows[0][kMark].as<std::string>();
  ledger_ = {};
  ledger_revision_ = kNoLedger;
  return {};
}

/// False: they cannot be told.
Result<bool> PostgresTables::read_changes(pqxx::transaction_base& work, AnswerLimit::Call& call) {
  call.heard();
  const auto rows = work.exec_prepared("changes", state_->revision, mark_, host_);
  if (!rows[0][kFollows].as<bool>()) {
    return false;
  }
  const auto revision = rows[0][kRevision].as<std::uint64_t>();
  if (revision == state_->revision) {
    return true;
  }
  call.pause();
  auto inventory = std::make_shared<Inventory>(*state_);
  Status status;
  bool same_scope = true;
  for (const auto& row : rows) {
    if (!status || row[kKind].is_null()) {
      continue;
    }
    const auto kind = view(row[kKind]), id = view(row[kId]);
    status = row[kBody].is_null() ? erase_row(*inventory, kind, id) : add(*inventory, row);
    same_scope =
        same_scope && (host_.empty() || !postgres::moves_the_scope(*state_, *inventory, kind, id));
  }
  call.heard();
  if (!same_scope) {
    return false;
  }
  if (!status) {
    return fail(status.error().code, where_ + ": " + status.error().message);
  }
  inventory->revision = revision;
  state_ = std::move(inventory);
  mark_ = rows[0][kMark].as<std::string>();
  return true;
}

const Ec2Ledger& PostgresTables::ledger(pqxx::transaction_base& work, AnswerLimit::Call& call) {
  call.heard();
  for (const auto& row : work.exec_prepared("numbers", ledger_revision_)) {
    ledger_.add({static_cast<Ec2Ledger::Space>(row[0].as<int>()), row[1].as<std::uint32_t>(),
                 row[2].as<std::string>()});
  }
  ledger_revision_ = static_cast<std::int64_t>(state_->revision);
  return ledger_;
}

postgres::Hosts PostgresTables::write(pqxx::work& work, const Step& step, AnswerLimit::Call& call) {
  const auto rows = rows_of(step.change);
  const auto revision = step.change.after->revision;
  postgres::Hosts hosts(std::in_place);
  call.heard();
  postgres::add_concerned(work, step.change, hosts);
  call.heard();
  for (const auto& row : rows.put) {
    work.exec_prepared0("put", std::string(row.kind), row.id, row.body,
                        row.network_info ? row.network_info->c_str() : nullptr, row.place,
                        revision);
    call.heard();
  }
  for (const auto& [kind, id] : rows.erase) {
    work.exec_prepared0("erase", std::string(kind), id, revision);
    call.heard();
  }
  for (const auto& entry : step.ec2) {
    work.exec_prepared0("number", static_cast<int>(entry.space), entry.number, entry.uuid,
                        revision);
    call.heard();
  }
  postgres::add_concerned(work, step.change, hosts);
  call.heard();
  const auto list =
      hosts ? std::optional(postgres::array_of({hosts->begin(), hosts->end()})) : std::nullopt;
  next_mark_ = work.exec_prepared1("commit", revision, kCommitsKept, list)[0].as<std::string>();
  call.heard();
  work.exec_prepared0("revise", revision);
  call.heard();
  return hosts;
}

void PostgresTables::written(const Step& step) {
  state_ = step.change.after;
  mark_ = std::exchange(next_mark_, {});
  for (const auto& entry : step.ec2) {
    ledger_.add(entry);
  }
}

std::vector<std::string> PostgresTables::some_hosts(pqxx::transaction_base& work) {
  std::vector<std::string> hosts;
  for (const auto& row :
       work.exec("SELECT DISTINCT host FROM metatap_port WHERE host <> '' LIMIT 3")) {
    hosts.push_back(row[0].as<std::string>());
  }
  return hosts;
}

bool PostgresTables::anything_new(pqxx::transaction_base& work, std::uint64_t revision,
                                  const std::string& host) {
  return work.exec_params1(kAnythingNew, revision, host, kCommitsKept)[0].as<bool>();
}

}  // namespace metatap
