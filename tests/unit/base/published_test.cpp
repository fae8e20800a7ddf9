// SPDX-License-Identifier: Apache-2.0
#include "base/published.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace metatap {
namespace {

TEST(Published, IsWhatWasSetLast) {
  Published<int> value;
  EXPECT_EQ(value.get(), nullptr);
  value.set(std::make_shared<const int>(1));
  const auto kept = value.get();
  value.set(std::make_shared<const int>(2));
  EXPECT_EQ(*kept, 1);
  EXPECT_EQ(*value.get(), 2);
  value.set(nullptr);
  EXPECT_EQ(value.get(), nullptr);
}

TEST(Published, KeepsNothingThatWasReplaced) {
  const auto first = std::make_shared<const int>(1);
  Published<int> value(first);
  EXPECT_EQ(first.use_count(), 2);
  value.set(std::make_shared<const int>(2));
  EXPECT_EQ(first.use_count(), 1);
}

TEST(Published, AReaderGetsOneValueWhole) {
  using Pair = std::pair<int, std::vector<int>>;
  constexpr int kValues = 20000;
  const auto made = [](int number) {
    return std::make_shared<const Pair>(number, std::vector<int>(3, number));
  };
  Published<Pair> value(made(0));
  std::vector<std::thread> readers;
  std::vector<int> mixed(3, 0), back(3, 0);
  for (std::size_t reader = 0; reader < mixed.size(); ++reader) {
    readers.emplace_back([&, reader] {
      for (int last = 0; last < kValues;) {
        const auto now = value.get();
        mixed[reader] += static_cast<int>(now->second != std::vector<int>(3, now->first));
        back[reader] += static_cast<int>(now->first < last);
        last = now->first;
      }
    });
  }
  for (int number = 1; number <= kValues; ++number) {
    value.set(made(number));
  }
  for (std::thread& reader : readers) {
    reader.join();
  }
  EXPECT_EQ(mixed, std::vector<int>(3, 0));
  EXPECT_EQ(back, std::vector<int>(3, 0));
}

}  // namespace
}  // namespace metatap
