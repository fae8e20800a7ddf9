// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "channel/messages.hpp"
#include "channel/socket.hpp"
#include "metatap/result.hpp"

namespace metatap::channel {

/// One end of the channel on an event loop: sends at once or as soon as there is room, in order,
/// and hands over what comes. Used on the loop's thread.
class Link {
 public:
  /// An error ends the link.
  using OnFrame = std::function<Status(Frame)>;
  /// Called once and last: the other end has gone, or said what cannot be believed, or does not
  /// read what it is told.
  using OnEnd = std::function<void(Error)>;

  Link(boost::asio::io_context& loop, Socket socket);
  /// Nothing is called any more; what was not sent is not.
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void start(OnFrame on_frame, OnEnd on_end);

  /// The descriptors stay the caller's, who may close them.
  template <class Message>
  void send(const Message& message, std::initializer_list<int> descriptors = {}) {
    send(Message::kType, encode(message), {descriptors.begin(), descriptors.end()});
  }

 private:
  struct State;
  void send(Type type, std::string body, std::span<const int> descriptors);
  std::shared_ptr<State> state_;
};

/// The message of a frame that is said to be of that kind. ErrorCode::invalid: it is malformed, or
/// its descriptors are not those that belong to it.
template <class Message>
[[nodiscard]] Result<Message> message_of(const Frame& frame) {
  if (frame.descriptors.size() != descriptors_of<Message>()) {
    return fail(ErrorCode::invalid, "a message of the other process came with " +
                                        std::to_string(frame.descriptors.size()) +
                                        " descriptors instead of " +
                                        std::to_string(descriptors_of<Message>()));
  }
  return decode<Message>(frame.body);
}

}  // namespace metatap::channel
