// SPDX-License-Identifier: Apache-2.0
// What Neutron and Nova list for `metatap import`: refused, or tables of which a document is made
// whose every mistake the inventory can name. The head's date, and the files that say how to sign
// in, are read or refused.
#include <array>
#include <string>
#include <utility>

#include "base/json_text.hpp"
#include "fuzz/fuzz.hpp"
#include "importer/clouds_file.hpp"
#include "importer/compose.hpp"
#include "importer/known_keys.hpp"
#include "importer/openrc.hpp"
#include "importer/since.hpp"
#include "inventory/document.hpp"
#include "openstack/answers.hpp"

namespace {

using namespace metatap::importer;  // NOLINT(google-build-using-namespace): a program, not a header
using metatap::fuzz::require;

struct Kind {
  const char* name;
  Table Tables::* table;
};
constexpr std::array<Kind, 5> kKinds{{{"networks", &Tables::networks},
                                      {"subnets", &Tables::subnets},
                                      {"routers", &Tables::routers},
                                      {"ports", &Tables::ports},
                                      {"servers", &Tables::servers}}};

/// One text as the answer to each question.
void answers(std::string_view body) {
  KnownKeys keys;
  Tables tables;
  std::size_t objects = 0;
  for (const auto& [name, table] : kKinds) {
    auto page = metatap::openstack::read_page<Json>(body, name, "OpenStack");
    if (!page) {
      continue;
    }
    for (auto& object : page->items) {
      auto id = metatap::text_of(object, "id");
      if (id.empty()) {
        return;  // nothing is made of a listing with such a one
      }
      keys.reduce(name, object, {"trunk_details"});
      if (table == &Tables::servers) {
        object["addresses"] = Json::array({"fa:16:3e:00:00:02", "fa:16:3e:00:00:01"});
      }
      (tables.*table).insert_or_assign(std::move(id), std::move(object));
    }
    objects += (tables.*table).size();
  }
  const auto made = compose(tables);
  const auto& counts = made.counts;
  require(counts.networks + counts.subnets + counts.routers + counts.ports + counts.servers +
              counts.left_out ==
          objects);
  if (const auto read = metatap::parse_document(made.text); !read) {
    require(!read.error().message.empty());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = metatap::fuzz::as_text(data, size);
  answers(text);
  static_cast<void>(since(metatap::openstack::read_date(std::string(text))));
  static_cast<void>(read_openrc(text));
  if (const auto cloud = read_cloud(text, "here"); !cloud) {
    require(!cloud.error().message.empty());
  }
  return 0;
}
