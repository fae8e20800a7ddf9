// SPDX-License-Identifier: Apache-2.0
// What an upstream sends, in any pieces: never a crash, and the same response however it was cut;
// and the connection is used again only when the response took the last byte.
#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "http/response_reader.hpp"

namespace {

using metatap::fuzz::require;
using metatap::http::ResponseReader;

std::string read(ResponseReader& reader, std::string_view bytes, bool head, std::size_t step) {
  reader.begin(head);
  auto state = ResponseReader::State::need_more;
  while (state == ResponseReader::State::need_more && !bytes.empty()) {
    const auto space = reader.space();
    require(!space.empty());
    const auto size = std::min({step, bytes.size(), space.size()});
    std::memcpy(space.data(), bytes.data(), size);
    bytes.remove_prefix(size);
    state = reader.received(size);
  }
  if (state == ResponseReader::State::need_more) {
    state = reader.finish();
  }
  if (state == ResponseReader::State::failed) {
    return "failed";
  }
  return std::to_string(reader.status()) + '\1' +
         std::string(reader.header("Content-Type").value_or("")) + '\1' +
         (reader.keep_alive() && bytes.empty() ? '+' : '-') + reader.take_body().str();
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) {
    return 0;
  }
  const auto bytes = metatap::fuzz::as_text(data + 1, size - 1);
  const bool head = (data[0] & 0x80U) != 0;
  ResponseReader reader(64 << 10);  // one for both, as on a connection
  const auto whole = read(reader, bytes, head, 1U << 20U);
  const auto pieces = read(reader, bytes, head, 1U + data[0] % 64U);
  require(whole == pieces);
  return 0;
}
