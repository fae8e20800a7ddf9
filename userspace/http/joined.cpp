// SPDX-License-Identifier: Apache-2.0
#include "http/joined.hpp"

#include "base/ascii.hpp"

namespace metatap::http {

std::string joined(const Request& request, std::string_view name) {
  std::string list;
  bool first = true;
  for (const auto& header : request.headers) {
    if (iequals(header.name, name)) {
      list.append(first ? "" : ",").append(header.value);
      first = false;
    }
  }
  return list;
}

}  // namespace metatap::http
