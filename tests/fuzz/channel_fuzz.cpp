// SPDX-License-Identifier: Apache-2.0
// Any bytes as whatever a worker may say to its supervisor: refused, or a message that reads the
// same again; and of the ports it names, only those that are checked are taken.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "channel/messages.hpp"

namespace {

using namespace metatap::channel;

template <class Message>
void read_as(const std::string& body) {
  if (const auto message = decode<Message>(body); message && encode(*message) != body) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string body(reinterpret_cast<const char*>(data), size);
  read_as<Hello>(body);
  read_as<Settle>(body);
  read_as<Look>(body);
  read_as<Serving>(body);
  read_as<Beat>(body);
  read_as<InventoryNews>(body);
  if (auto news = decode<InventoryNews>(body); news && check(*news)) {
    static_cast<void>(follow(std::make_shared<const metatap::Inventory>(), *std::move(news)));
  }
  return 0;
}
