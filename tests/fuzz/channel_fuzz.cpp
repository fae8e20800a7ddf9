// SPDX-License-Identifier: Apache-2.0
// Any bytes as what supervisor and worker say to each other, in either direction: refused, or a
// message that reads the same again; of the ports a worker names only those that are checked are
// taken; and a packet is read whole or not at all.
#include <sys/socket.h>

#include <memory>
#include <string>

#include "channel/messages.hpp"
#include "channel/socket.hpp"
#include "fuzz/fuzz.hpp"

namespace {

using namespace metatap::channel;  // NOLINT(google-build-using-namespace): a program
using metatap::fuzz::require;

template <class... Message>
void read_as(const std::string& body) {
  const auto one = [&]<class M>(M*) {
    if (const auto message = decode<M>(body)) {
      require(encode(*message) == body);
    }
  };
  (one(static_cast<Message*>(nullptr)), ...);
}

void packet(std::string_view bytes) {
  static const auto ends = Socket::pair().value();
  constexpr std::size_t kHead = 24;
  if (bytes.empty() || ::send(ends.first.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
    return;
  }
  const auto frame = ends.second.receive();
  require(!frame ||
          (*frame && (*frame)->descriptors.empty() && (*frame)->body == bytes.substr(kHead)));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string body(metatap::fuzz::as_text(data, size));
  read_as<Hello, InventoryNews, Serving, Settle, Look, Beat, Connect, Kept, Handed, Watch, Welcome,
          Listen, Close, Publish, Settled, Seen, Connected, NotConnected, Packets, Drain, Succeed,
          Expose>(body);
  if (auto news = decode<InventoryNews>(body); news && check(*news)) {
    static_cast<void>(follow(std::make_shared<const metatap::Inventory>(), *std::move(news)));
  }
  packet(body);
  return 0;
}
