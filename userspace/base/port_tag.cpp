// SPDX-License-Identifier: Apache-2.0
#include "base/port_tag.hpp"

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
  std::string text;
  text.reserve(256);  // ids are UUIDs: all of it
  text = "metatap-port/1";
  for (const auto part : {tag.port_id, tag.network_id, tag.router_id, tag.address}) {
    text += '\n';  // the length in front says where each part ends, whatever is in it
    text += std::to_string(part.size());
    text += ':';
    text += part;
  }
  return key_.sign(text);
}

}  // namespace metatap
