// SPDX-License-Identifier: Apache-2.0
// What a guest sends, in any pieces: never a crash, never a view outside the buffer, and the same
// requests however the bytes were cut. Where the first byte comes alone Beast has begun with a head
// before it is there as a whole, so what is taken for a plain one is held against what Beast makes
// of it. (A last chunk byte by byte runs into an assertion of Beast's that is not so: no step
// is 1.)
#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "http/request_reader.hpp"

namespace {

using metatap::fuzz::require;
using metatap::http::RequestReader;

/// Everything that was read, and whether it ended in an error. So many bytes come first, and then
/// so many each time.
std::vector<std::string> read_all(std::string_view bytes, std::size_t first, std::size_t step) {
  static const metatap::http::Limits limits;
  static const metatap::Peer peer;
  RequestReader reader(limits);
  std::vector<std::string> seen;
  auto state = RequestReader::State::need_more;
  while (true) {
    if (state == RequestReader::State::complete) {
      const auto request = reader.request(peer);
      std::string text = std::string(request.method) + '\1' + std::string(request.target);
      for (const auto& header : request.headers) {
        text += '\1' + std::string(header.name) + '\2' + std::string(header.value);
      }
      text += '\1' + std::string(request.body) + '\1' + (reader.keep_alive() ? 'k' : 'c');
      seen.push_back(std::move(text));
      reader.next();
      state = reader.empty() ? RequestReader::State::need_more : reader.parse();
      continue;
    }
    if (state == RequestReader::State::failed) {
      require(reader.status() >= 400 && reader.status() <= 431);
      seen.emplace_back("failed");
      return seen;
    }
    static_cast<void>(reader.wants_continue());
    if (bytes.empty()) {
      return seen;
    }
    const auto space = reader.space();
    require(!space.empty());  // the reader fails before it runs out of room
    const auto size = std::min({std::exchange(first, step), bytes.size(), space.size()});
    std::memcpy(space.data(), bytes.data(), size);
    bytes.remove_prefix(size);
    reader.received(size);
    state = reader.parse();
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) {
    return 0;
  }
  const auto bytes = metatap::fuzz::as_text(data + 1, size - 1);
  // A limit may strike while the last request is still incomplete in one cut and not yet in the
  // other; the complete ones before it are the same.
  const auto complete = [&](std::size_t first, std::size_t step) {
    auto seen = read_all(bytes, first, step);
    if (!seen.empty() && seen.back() == "failed") {
      seen.pop_back();
    }
    return seen;
  };
  constexpr std::size_t kAll = 1U << 20U;
  const std::size_t step = 2U + data[0] % 64U;
  const auto whole = complete(kAll, kAll);
  require(whole == complete(step, step));
  require(whole == complete(1, kAll));
  return 0;
}
