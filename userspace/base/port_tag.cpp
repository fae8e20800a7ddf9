// SPDX-License-Identifier: Apache-2.0
#include "base/port_tag.hpp"

#include <fmt/format.h>

#include <iterator>

#include "base/key_file.hpp"
#include "base/option_reader.hpp"

namespace metatap {

Result<PortTagOptions> PortTagOptions::from(const Config& config) {
  PortTagOptions options;
  OptionReader read(config);
  std::filesystem::path run_path = "/run/metatap";
  read.text({"DEFAULT", "run_path", "Sockets and what lives until the next start"}, run_path);
  read.secret({"DEFAULT", "port_tag_key",
               "What proxy and agent sign port tags with; empty: port_tag.key in run_path"},
              options.key);
  read.require(
      "DEFAULT", "port_tag_key", options.key.empty() || options.key.size() >= kKeyBytes,
      "at least " + std::to_string(kKeyBytes) + " characters, as of: openssl rand -hex 32");
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  options.key_file = run_path / "port_tag.key";
  return options;
}

Result<PortTagKey> PortTagKey::open(const PortTagOptions& options) {
  auto bytes = options.key.empty() ? read_or_make_key_file(options.key_file)
                                   : Result<std::string>(options.key);
  if (!bytes) {
    return tl::make_unexpected(std::move(bytes.error()).in("the key of the port tag"));
  }
  return PortTagKey(std::move(*bytes));
}

Status PortTagKey::check(const PortTagOptions& options) {
  if (options.key.empty()) {
    if (auto bytes = read_key_file(options.key_file);
        !bytes && bytes.error().code != ErrorCode::not_found) {
      return tl::make_unexpected(std::move(bytes.error()).in("the key of the port tag"));
    }
  }
  return {};
}

Signature PortTagKey::sign(const DirectoryQuery& tag) const {
  fmt::memory_buffer text;
  // The length in front says where each part ends, whatever is in it.
  fmt::format_to(std::back_inserter(text), "metatap-port/1\n{}:{}\n{}:{}\n{}:{}\n{}:{}",
                 tag.port_id.size(), tag.port_id, tag.network_id.size(), tag.network_id,
                 tag.router_id.size(), tag.router_id, tag.address.size(), tag.address);
  return key_.sign({text.data(), text.size()});
}

}  // namespace metatap
