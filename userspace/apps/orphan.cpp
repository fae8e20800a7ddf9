// SPDX-License-Identifier: Apache-2.0
#include "apps/orphan.hpp"

#include <boost/asio/post.hpp>
#include <optional>
#include <utility>

#include "apps/version.hpp"
#include "base/log.hpp"
#include "channel/door.hpp"
#include "metatap/abi/abi.h"

namespace metatap::apps {

namespace asio = boost::asio;
using std::chrono::steady_clock;

Orphan::Orphan(asio::io_context& control, Estate estate, std::chrono::seconds patience, Drain drain)
    : control_(control),
      estate_(std::move(estate)),
      drain_(std::move(drain)),
      until_(steady_clock::now() + patience),
      knocks_(control, estate_.door.get()),
      timer_(control) {
  wait_for_successor();
  wait_for_the_end();
}

Orphan::~Orphan() {
  (void)knocks_.release();  // the estate's
}

void Orphan::wait_for_successor() {
  knocks_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](boost::system::error_code error) {
                       if (error || !drain_) {
                         return;
                       }
                       if (auto socket = channel::Door::admit(estate_.door.get())) {
                         meet(*std::move(socket));
                       } else {
                         wait_for_successor();
                       }
                     });
}

void Orphan::wait_for_the_end() {
  timer_.expires_at(until_);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error && !handed_) {
      give_up("no other supervisor came");
    }
  });
}

void Orphan::meet(channel::Socket socket) {
  successor_ = std::make_unique<channel::Link>(control_, std::move(socket));
  successor_->start([this](const channel::Frame& frame) { return take(frame); },
                    [this](const Error& error) { lose(error); });
  successor_->send(channel::Hello{version_of("metatap-worker")});
}

Status Orphan::take(const channel::Frame& frame) {
  switch (static_cast<channel::Type>(frame.type)) {
    case channel::Type::succeed:
      return channel::message_of<channel::Succeed>(frame).and_then(
          [&](const auto& succeed) { return hand_over(succeed); });
    case channel::Type::drain:
      return channel::message_of<channel::Drain>(frame).map(
          [&](const auto& drain) { end(std::chrono::milliseconds(drain.limit)); });
    default:
      return fail(ErrorCode::invalid,
                  "another supervisor said something unknown: kind " + std::to_string(frame.type));
  }
}

Status Orphan::hand_over(const channel::Succeed& succeed) {
  if (succeed.abi != MT_ABI_VERSION) {
    log::warn("a supervisor for maps of layout {} came, these are of {}: it gets nothing",
              succeed.abi, MT_ABI_VERSION);
    successor_->send(channel::Handed{0, "the maps that it serves by are of layout " +
                                            std::to_string(MT_ABI_VERSION) + ", not " +
                                            std::to_string(succeed.abi)});
    return {};
  }
  for (const auto& [name, listener] : estate_.listeners) {
    successor_->send(channel::Kept{}, {listener.get()});
  }
  successor_->send(channel::Handed{static_cast<std::uint32_t>(estate_.listeners.size()), {}});
  handed_ = true;
  log::info("another supervisor has the listening sockets; serving on until its worker does");
  return {};
}

/// What the table of callers says is as good as before: the next one may come.
void Orphan::lose(const Error& error) {
  handed_ = false;
  log::warn("the supervisor that came has gone: {}", error.message);
  asio::post(control_, [gone = std::shared_ptr<channel::Link>(std::move(successor_))] {});
  if (steady_clock::now() >= until_) {
    give_up("no other supervisor came");
    return;
  }
  wait_for_successor();
}

void Orphan::give_up(std::string_view why) {
  if (drain_) {
    log::warn("{}: this worker ends, and leaves guests to who listens then", why);
    end(std::nullopt);
  }
}

void Orphan::end(std::optional<std::chrono::milliseconds> limit) {
  timer_.cancel();
  estate_.listeners.clear();
  if (const auto drain = std::exchange(drain_, nullptr)) {
    drain(limit);
  }
}

}  // namespace metatap::apps
