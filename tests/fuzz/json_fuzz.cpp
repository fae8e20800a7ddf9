// SPDX-License-Identifier: Apache-2.0
// What the API reads beside requests, from an operator or a neighbour: vendordata and a network
// cache. And paths, which come out in one spelling.
#include <string>

#include "api/json.hpp"
#include "api/network_model.hpp"
#include "base/path.hpp"
#include "fuzz/fuzz.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header
using fuzz::require;

void paths(std::string_view target) {
  const std::string path = canonical_path(target);
  require(path.front() == '/' && path.find("//") == std::string::npos);
  require(path == "/" || path.back() != '/');
  require((path + "/").find("/../") == std::string::npos);
  require(path.size() <= target.size() + 1);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_text(data, size);
  paths(bytes);
  if (const auto json = api::Json::parse(bytes)) {
    const std::string once = json->dump();
    const auto again = api::Json::parse(once);
    require(again.has_value());
    require(again->dump() == once);
  }
  if (const auto model = api::network_model_from_json(bytes)) {
    require(api::Json::parse(api::network_data_json(*model)).has_value());
    static_cast<void>(api::injected_interfaces(*model));
    static_cast<void>(api::first_ipv4(*model));
  }
  return 0;
}
