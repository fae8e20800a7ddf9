// SPDX-License-Identifier: Apache-2.0
// The XML of domains, and the meta-data in guests' directories: whatever some of them say, the
// document that is made of all can be read, and serves those that make sense.
#include <filesystem>
#include <set>
#include <string>

#include "fuzz/fuzz.hpp"
#include "inventory/document.hpp"
#include "libvirt/guest_book.hpp"
#include "libvirt/meta_data.hpp"

namespace {

using namespace metatap::libvirt;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::parse_document;
using metatap::fuzz::require;

constexpr auto kNeighbour = R"(<domain><name>neighbour</name>
<uuid>5f4b1a6e-0001-4c5b-9d3e-000000000001</uuid><devices><interface type='bridge'>
<mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet0'/></interface></devices>
</domain>)";
constexpr auto kItsUuid = "5f4b1a6e-0001-4c5b-9d3e-000000000001";

/// Domains with a NUL between them, beside one that makes sense and was there before.
void domains(std::string_view text) {
  GuestBook book("/nonexistent");
  book.put(kItsUuid, kNeighbour);
  static_cast<void>(book.document());
  for (int number = 0; !text.empty(); ++number) {
    const auto xml = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), xml.size() + 1));
    // libvirt has each uuid once, by which it is asked for.
    const auto domain = parse_domain(xml);
    if (!domain || domain->uuid != kItsUuid) {
      book.put(domain ? domain->uuid : std::to_string(number), xml);
    }
  }
  const auto inventory = parse_document(book.document());
  require(inventory.has_value());
  require(inventory->instances.contains(kItsUuid));
}

void meta_data(std::string_view text) {
  GuestData data;
  if (const auto read = read_meta_data(text, data); !read) {
    require(!read.error().message.empty());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = metatap::fuzz::as_text(data, size);
  domains(text);
  meta_data(text);
  return 0;
}
