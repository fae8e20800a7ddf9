// SPDX-License-Identifier: Apache-2.0
// Any text as an inventory document: refused with a pointer and a reason, or an inventory that is
// written as a document which is read as the same again; alone, and put into one that is there.
#include <string>

#include "fuzz/fuzz.hpp"
#include "inventory/document.hpp"
#include "inventory/write_document.hpp"
#include "unit/inventory/samples.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header
using fuzz::require;

void check(const Result<Inventory>& inventory) {
  if (!inventory) {
    require(!inventory.error().message.empty());
    return;
  }
  const auto document = write_document(*inventory);
  const auto again = parse_document(document);
  require(again.has_value());
  require(write_document(*again) == document);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto there = parse_document(kSample).value();
  static const PortIndex index(there);
  const auto text = fuzz::as_text(data, size);
  check(parse_document(text));
  check(merge_document(there, index, text));
  check(merge_document(there, index, text, Existing::refuse));
  return 0;
}
