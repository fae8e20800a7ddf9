// SPDX-License-Identifier: Apache-2.0
// The schema and the manual say what the tables of keys say. After a change of these:
//   METATAP_WRITE_SCHEMA=1 build/bin/unit_inventory --gtest_filter=Schema.*
#include "inventory/schema.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.hpp"

namespace metatap {
namespace {

constexpr std::string_view kBegin = "<!-- keys -->\n", kEnd = "<!-- end of keys -->\n";

const std::filesystem::path kRoot = METATAP_SOURCE_DIR;

void compare(const std::filesystem::path& file, const std::string& wanted) {
  if (std::getenv("METATAP_WRITE_SCHEMA") != nullptr) {
    std::ofstream(file) << wanted;
  }
  const auto there = read_file(file);
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_EQ(*there, wanted) << file << " is not what the tables of keys say";
}

TEST(Schema, IsWhatReadingGoesBy) {
  compare(kRoot / "packaging/metatap-inventory.schema.json", document_schema());
}

TEST(Schema, SoIsTheManual) {
  const auto file = kRoot / "docs/inventory.md";
  const auto text = read_file(file);
  ASSERT_TRUE(text) << text.error().message;
  const auto begin = text->find(kBegin), end = text->find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  compare(file,
          text->substr(0, begin + kBegin.size()) + "\n" + document_manual() + text->substr(end));
}

}  // namespace
}  // namespace metatap
