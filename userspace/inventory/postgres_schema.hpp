// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "metatap/result.hpp"

/// metatap's tables in a PostgreSQL database: metatap_state has the revision, metatap_object a row
/// for each object, of which metatap_port is a view, metatap_ec2_id the EC2 names that were given,
/// metatap_commit and metatap_change what the last commits did. Both functions throw what libpqxx
/// throws.
namespace metatap::postgres {

/// The version of our tables; 0: there are none yet, and nobody else's. Refuses a newer one
/// (ErrorCode::unsupported) and a database that holds another program's tables and none of ours
/// (ErrorCode::invalid). `where`: the database, for the sentence.
Result<int> schema_version(pqxx::transaction_base& work, const std::string& where);

/// Makes the tables, or makes them what this program knows. One host at a time.
///
/// A program of an older version that runs on meanwhile is served and writes as before; what it
/// does is in no metatap_commit, so that everybody else reads everything again. Started anew, it
/// refuses the newer tables.
Status migrate(pqxx::connection& connection, const std::string& where);

}  // namespace metatap::postgres
