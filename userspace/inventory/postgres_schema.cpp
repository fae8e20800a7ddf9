// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_schema.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <utility>

namespace metatap::postgres {
namespace {

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
    // What the last commits changed. `mark` tells a commit from another one of its number, which
    // there is after a backup was put back.
    R"(CREATE TABLE metatap_commit (
         revision bigint PRIMARY KEY,
         mark text NOT NULL);
       INSERT INTO metatap_commit SELECT revision, gen_random_uuid()::text FROM metatap_state;
       CREATE TABLE metatap_change (
         revision bigint NOT NULL,
         kind text NOT NULL,
         id text NOT NULL,
         PRIMARY KEY (revision, kind, id));
       ALTER TABLE metatap_ec2_id ADD COLUMN revision bigint NOT NULL DEFAULT 0;
       CREATE INDEX metatap_ec2_id_revision ON metatap_ec2_id (revision);)",
    // What ports and subnets refer to, for hosts that hold what they need alone; `hosts`: whom a
    // commit concerns, null: everybody. Taken from the body by the database itself, so that also a
    // program of an older version writes it; by a trigger, since generated columns would read the
    // body once for each of them, which takes six times as long.
    R"(ALTER TABLE metatap_object
         ADD COLUMN network text, ADD COLUMN device text,
         ADD COLUMN host text, ADD COLUMN next_host text, ADD COLUMN role text;
       CREATE FUNCTION metatap_note_relations() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
           said jsonb;
           owner text;
         BEGIN
           IF NEW.kind IN ('ports', 'subnets') THEN
             said := NEW.body;
             NEW.network := coalesce(said ->> 'network_id', '');
           END IF;
           IF NEW.kind = 'ports' THEN
             owner := coalesce(said ->> 'device_owner', '');
             NEW.device := coalesce(said ->> 'device_id', '');
             NEW.host := coalesce(said ->> 'binding:host_id', '');
             NEW.next_host := coalesce(said #>> '{binding:profile,migrating_to}', '');
             NEW.role := CASE
               WHEN owner NOT LIKE 'network:%' THEN 'guest'
               WHEN owner IN ('network:dhcp', 'network:router_interface',
                              'network:ha_router_replicated_interface',
                              'network:router_interface_distributed') THEN 'server'
               ELSE 'other' END;
           END IF;
           RETURN NEW;
         END $$;
       CREATE TRIGGER metatap_note_relations BEFORE INSERT OR UPDATE ON metatap_object
         FOR EACH ROW EXECUTE FUNCTION metatap_note_relations();
       UPDATE metatap_object SET body = body WHERE kind IN ('ports', 'subnets');
       CREATE INDEX metatap_port_host ON metatap_object (host) WHERE host IS NOT NULL;
       CREATE INDEX metatap_port_next_host ON metatap_object (next_host) WHERE next_host <> '';
       CREATE INDEX metatap_port_device ON metatap_object (device) WHERE device <> '';
       CREATE INDEX metatap_port_network ON metatap_object (network, role) WHERE kind = 'ports';
       CREATE INDEX metatap_subnet_network ON metatap_object (network) WHERE kind = 'subnets';
       CREATE VIEW metatap_port AS
         SELECT id, network, device, host, next_host, role FROM metatap_object
         WHERE kind = 'ports';
       ALTER TABLE metatap_commit ADD COLUMN hosts text[];)",
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

}  // namespace

Result<int> schema_version(pqxx::transaction_base& work, const std::string& where) {
  int version = 0;
  if (!work.exec("SELECT to_regclass('metatap_state')")[0][0].is_null()) {
    version = work.exec("SELECT schema FROM metatap_state")[0][0].as<int>();
  } else if (const auto foreign = work.exec(kForeignTable); !foreign.empty()) {
    return fail(ErrorCode::invalid,
                fmt::format("{}: it belongs to another program (there is {}); metatap needs a "
                            "database of its own",
                            where, foreign[0][0].as<std::string>()));
  }
  if (version > kNewest) {
    return fail(ErrorCode::unsupported,
                fmt::format("{}: its schema {} is newer than this program's {}; it was left as "
                            "it is. Use the newer metatapd, or another database",
                            where, version, kNewest));
  }
  return version;
}

Status migrate(pqxx::connection& connection, const std::string& where) {
  pqxx::work work(connection);
  work.exec(fmt::format("SELECT pg_advisory_xact_lock({})", kMigrationLock));
  auto version = schema_version(work, where);
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

}  // namespace metatap::postgres
