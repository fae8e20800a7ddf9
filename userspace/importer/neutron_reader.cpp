// SPDX-License-Identifier: Apache-2.0
#include "importer/neutron_reader.hpp"

#include <array>
#include <utility>

#include "base/json_text.hpp"
#include "importer/since.hpp"

namespace metatap::importer {
namespace {

struct Kind {
  const char* name;  ///< of the collection, and of the document's table
  Table Tables::* table;
};
/// What refers to others comes before these: what a port names was there when the port was listed,
/// and is missing from a later list only if it is gone, and the port with it.
constexpr std::array<Kind, 4> kKinds{{{"ports", &Tables::ports},
                                      {"subnets", &Tables::subnets},
                                      {"networks", &Tables::networks},
                                      {"routers", &Tables::routers}}};

Table by_id(std::vector<Json> objects) {
  Table table;
  for (auto& object : objects) {
    auto id = text_of(object, "id");
    table.insert_or_assign(std::move(id), std::move(object));
  }
  return table;
}

}  // namespace

Trim NeutronReader::trim_of(const char* table) {
  return [this, table](Json& object) { keys_.reduce(table, object, {"trunk_details"}); };
}

boost::asio::awaitable<Status> NeutronReader::all(Tables& into) {
  questions_.forget_time();
  filters_by_time_ = true;
  Tables read;
  for (const auto& kind : kKinds) {
    Collection collection{.path = kind.name, .key = kind.name};
    Trim trim = trim_of(kind.name);
    auto objects = co_await questions_.all(std::move(collection), std::move(trim));
    if (!objects) {
      co_return tl::make_unexpected(std::move(objects.error()));
    }
    say_("Neutron: " + std::to_string(objects->size()) + " " + kind.name);
    read.*kind.table = by_id(*std::move(objects));
  }
  for (const auto& kind : kKinds) {
    into.*kind.table = std::move(read.*kind.table);
  }
  since_ = since(questions_.began());
  co_return Status();
}

boost::asio::awaitable<Result<NeutronReader::Changes>> NeutronReader::changes_of(
    const char* table) {
  const Trim trim = trim_of(table);
  Collection wanted{.path = table, .key = table};
  if (filters_by_time_) {
    wanted.query.emplace_back("changed_since", since_);
  }
  auto objects = co_await questions_.all(wanted, trim);
  if (!objects && objects.error().code == ErrorCode::invalid && filters_by_time_) {
    filters_by_time_ = false;
    wanted.query.clear();
    objects = co_await questions_.all(wanted, trim);
  }
  if (!objects) {
    co_return tl::make_unexpected(std::move(objects.error()));
  }
  Changes made{.changed = by_id(*std::move(objects)), .there = {}};
  if (!filters_by_time_) {
    for (const auto& [id, object] : made.changed) {
      made.there.insert(id);
    }
    co_return made;
  }
  wanted.query = {{"fields", "id"}};
  const auto ids = co_await questions_.all(wanted, trim);
  if (!ids) {
    co_return tl::make_unexpected(ids.error());
  }
  for (const auto& object : *ids) {
    made.there.insert(text_of(object, "id"));
  }
  co_return made;
}

boost::asio::awaitable<Status> NeutronReader::changes(Tables& into) {
  questions_.forget_time();
  std::array<Changes, kKinds.size()> read;
  for (std::size_t at = 0; at < kKinds.size(); ++at) {
    auto changes = co_await changes_of(kKinds[at].name);
    if (!changes) {
      co_return tl::make_unexpected(std::move(changes.error()));
    }
    read[at] = *std::move(changes);
  }
  for (std::size_t at = 0; at < kKinds.size(); ++at) {
    auto& table = into.*kKinds[at].table;
    const auto& there = read[at].there;
    for (auto& [id, object] : read[at].changed) {
      table.insert_or_assign(id, std::move(object));
    }
    std::erase_if(table, [&there](const auto& entry) { return !there.contains(entry.first); });
  }
  since_ = since(questions_.began());
  co_return Status();
}

}  // namespace metatap::importer
