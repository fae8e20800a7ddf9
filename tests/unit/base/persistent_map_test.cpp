// SPDX-License-Identifier: Apache-2.0
#include "metatap/persistent_map.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <type_traits>

#include "metatap/table.hpp"

namespace metatap {
namespace {

template <class Spread>
using Numbers = PersistentMap<std::shared_ptr<const int>, Spread>;
using Model = std::map<std::string, int>;

std::shared_ptr<const int> number(int value) {
  return std::make_shared<const int>(value);
}

template <class Spread>
Model contents(const Numbers<Spread>& table) {
  Model all;
  for (const auto& [id, value] : table) {
    EXPECT_TRUE(all.emplace(id, *value).second) << id;
    if (std::is_same_v<Spread, InOrder>) {
      EXPECT_TRUE(all.rbegin()->first == id) << "out of order: " << id;
    }
  }
  EXPECT_EQ(all.size(), table.size());
  EXPECT_EQ(all.empty(), table.empty());
  return all;
}

template <class Spread>
void is_a_map_and_its_copies_are_independent() {
  std::mt19937 random(7);  // NOLINT: the same each run
  std::vector<std::pair<Numbers<Spread>, Model>> versions(1);
  for (int step = 0; step < 4000; ++step) {
    if (step % 40 == 0) {
      versions.push_back(versions[random() % versions.size()]);
    }
    auto& [table, model] = versions[random() % versions.size()];
    std::string id;
    for (auto length = random() % 4; length > 0; --length) {
      id.push_back("abz\xff"[random() % 4]);
    }
    switch (random() % 4) {
      case 0:
        EXPECT_EQ(table.erase(id), model.erase(id));
        break;
      case 1:
        EXPECT_EQ(table.emplace(id, number(step)), model.emplace(id, step).second);
        break;
      default:
        table.insert_or_assign(id, number(step));
        model.insert_or_assign(id, step);
    }
    EXPECT_EQ(table.contains(id), model.contains(id));
    EXPECT_EQ(table.find(id) == table.end(), !model.contains(id));
    EXPECT_EQ(table.get(id) == nullptr, !model.contains(id));
  }
  for (const auto& [table, model] : versions) {
    EXPECT_EQ(contents(table), model);
  }
  if constexpr (std::is_same_v<Spread, InOrder>) {
    for (const auto& [before, before_model] : versions) {
      const auto& [after, after_model] = versions[random() % versions.size()];
      Model patched = before_model;
      std::set<std::string> seen;
      for_each_difference(before, after,
                          [&](const std::string& id, const int* old, const int* now) {
                            EXPECT_EQ(old != nullptr, before_model.contains(id));
                            EXPECT_TRUE(seen.insert(id).second) << id;
                            EXPECT_EQ(*seen.rbegin(), id) << "out of order";
                            if (now == nullptr) {
                              patched.erase(id);
                            } else {
                              patched.insert_or_assign(id, *now);
                            }
                          });
      EXPECT_EQ(patched, after_model);
    }
  }
}

TEST(PersistentMap, IsAMapAndItsCopiesAreIndependent) {
  is_a_map_and_its_copies_are_independent<InOrder>();
  is_a_map_and_its_copies_are_independent<ByHash>();
}

TEST(PersistentMap, DoesNotLookAtWhatCopiesShare) {
  Table<int> table;
  for (int i = 0; i < 10000; ++i) {
    table[std::to_string(i)] = number(i);
  }
  auto copy = table;
  copy["4242"] = number(-1);
  copy.erase("17");
  std::map<std::string, std::pair<bool, bool>> seen;
  for_each_difference(table, copy, [&](const std::string& id, const int* old, const int* now) {
    seen[id] = {old != nullptr, now != nullptr};
  });
  EXPECT_EQ(seen, (decltype(seen){{"17", {true, false}}, {"4242", {true, true}}}));
  EXPECT_EQ(table.at("4242"), table.find("4242")->second);
  EXPECT_EQ(*table.at("4242"), 4242);
  EXPECT_EQ(get(table, "4242"), table.at("4242").get());
  EXPECT_EQ(get(table, "x"), nullptr);
  EXPECT_THROW(static_cast<void>(table.at("x")), std::out_of_range);
}

}  // namespace
}  // namespace metatap
