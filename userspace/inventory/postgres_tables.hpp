// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <utility>
#include <vector>

#include "inventory/answer_limit.hpp"
#include "inventory/postgres_scope.hpp"
#include "inventory/step.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// The inventory in our tables of a PostgreSQL database, and what of it is known here. What has
/// changed since the last time is all that is read, as long as the database can tell: its last
/// commits are kept, by number and mark. Of a host's part also the rest is read again when
/// something comes or goes. One thread at a time; throws what libpqxx throws.
///
/// Everything is done within a transaction of the caller's, whose limit for an answer is `call`.
class PostgresTables {
 public:
  /// `where`: the database, for error texts. `host`: the one whose part is held (postgres_scope);
  /// empty: everything is.
  PostgresTables(std::string where, std::string host)
      : where_(std::move(where)), host_(std::move(host)) {}

  /// What a new connection needs.
  void prepare(pqxx::connection& connection) const;

  /// As it was read or written last; never null.
  [[nodiscard]] const std::shared_ptr<const Inventory>& state() const { return state_; }
  /// Makes state() what the database has. Each statement is consistent in itself, so that no lock
  /// is needed.
  Status read(pqxx::transaction_base& work, AnswerLimit::Call& call);

  /// The EC2 names that were given, as they are in the transaction that has read state().
  const Ec2Ledger& ledger(pqxx::transaction_base& work, AnswerLimit::Call& call);

  /// Stores what leads from state() on, in a transaction that has locked metatap_state and read.
  /// It is known here with written(), once it is committed. Returns whom it concerns.
  postgres::Hosts write(pqxx::work& work, const Step& step, AnswerLimit::Call& call);
  void written(const Step& step);

  /// Some of the hosts that ports are bound to.
  [[nodiscard]] static std::vector<std::string> some_hosts(pqxx::transaction_base& work);
  /// Whether there is a commit after that revision that concerns `host` (empty: any), or may do so.
  [[nodiscard]] static bool anything_new(pqxx::transaction_base& work, std::uint64_t revision,
                                         const std::string& host);

 private:
  Status read_everything(pqxx::transaction_base& work, AnswerLimit::Call& call);
  Result<bool> read_changes(pqxx::transaction_base& work, AnswerLimit::Call& call);

  const std::string where_, host_;
  std::shared_ptr<const Inventory> state_ = std::make_shared<const Inventory>();
  std::string mark_;  ///< of the commit that made state_; empty: nobody has noted one
  std::string next_mark_;

  Ec2Ledger ledger_;
  std::int64_t ledger_revision_ = kNoLedger;  ///< as of when ledger_ is
  static constexpr std::int64_t kNoLedger = -1;
};

}  // namespace metatap
