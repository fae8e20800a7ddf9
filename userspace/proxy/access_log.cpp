// SPDX-License-Identifier: Apache-2.0
#include "proxy/access_log.hpp"

#include <fmt/format.h>

namespace metatap::proxy {
namespace {

constexpr std::size_t kLongestTarget = 200;

/// Whatever is no printable ASCII, or would end the quotes, is a question mark.
std::string harmless(std::string_view text) {
  std::string out(text.substr(0, kLongestTarget));
  for (char& c : out) {
    c = c > ' ' && c < 0x7f && c != '"' && c != '\\' ? c : '?';
  }
  return out;
}

std::string_view or_none(std::string_view text) {
  return text.empty() ? "-" : text;
}

}  // namespace

std::string line_of(const AccessEntry& entry) {
  const Origin& origin = *entry.caller.origin;
  const auto request =
      entry.request != nullptr
          ? fmt::format("{} {}", harmless(entry.request->method), harmless(entry.request->target))
          : std::string("<BADREQ>");
  return fmt::format(
      "access port={} instance={} network={} router={} device={} address={} status={} bytes={} "
      "read={} stages={:.3f} write={:.3f} reason={} \"{}\"",
      or_none(origin.port_id), or_none(entry.instance), or_none(origin.network_id),
      or_none(origin.router_id), or_none(origin.device), or_none(entry.caller.address),
      entry.status, entry.bytes, entry.read.count(),
      static_cast<double>(entry.stages.count()) / 1000,
      static_cast<double>(entry.write.count()) / 1000, or_none(entry.reason), request);
}

}  // namespace metatap::proxy
