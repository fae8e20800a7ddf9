// SPDX-License-Identifier: Apache-2.0
#include "apps/former_worker.hpp"

#include <poll.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "channel/door.hpp"
#include "channel/link.hpp"
#include "metatap/abi/abi.h"
#include "sys/notify.hpp"

namespace metatap::apps {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

/// One that turns answers at once; one that does not serves nobody new.
constexpr auto kAnswer = 3s;
constexpr auto kDeath = 2s;

/// The next message, as long as there is time.
Result<channel::Frame> hear(const channel::Socket& socket, steady_clock::time_point until) {
  while (true) {
    auto frame = socket.receive();
    if (!frame) {
      return tl::make_unexpected(std::move(frame.error()));
    }
    if (*frame) {
      return **std::move(frame);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - steady_clock::now());
    pollfd readable{socket.fd(), POLLIN, 0};
    if (left <= 0ms || ::poll(&readable, 1, static_cast<int>(left.count())) == 0) {
      return fail(ErrorCode::timeout, "it does not answer");
    }
  }
}

/// What it has goes to `listeners`, as it comes.
Status ask(const channel::Socket& socket, dataplane::InheritedListeners& listeners) {
  const auto until = steady_clock::now() + kAnswer;
  const auto hello = hear(socket, until).and_then([](const channel::Frame& frame) {
    return channel::message_of<channel::Hello>(frame);
  });
  if (!hello) {
    return tl::make_unexpected(hello.error());
  }
  const auto sent = socket.send(static_cast<std::uint16_t>(channel::Type::succeed),
                                channel::encode(channel::Succeed{MT_ABI_VERSION}));
  if (!sent || !*sent) {
    return fail(ErrorCode::unavailable, "it does not listen");
  }
  for (std::uint32_t count = 0;; ++count) {
    auto frame = hear(socket, until);
    if (!frame) {
      return tl::make_unexpected(std::move(frame.error()));
    }
    if (frame->type == static_cast<std::uint16_t>(channel::Type::handed)) {
      const auto handed = channel::message_of<channel::Handed>(*frame);
      if (!handed) {
        return tl::make_unexpected(handed.error());
      }
      if (!handed->refused.empty()) {
        return fail(ErrorCode::unsupported, handed->refused);
      }
      return handed->count == count ? Status()
                                    : fail(ErrorCode::invalid, "not all of its sockets arrived");
    }
    if (frame->type != static_cast<std::uint16_t>(channel::Type::kept)) {
      return fail(ErrorCode::invalid,
                  "it said something unknown: kind " + std::to_string(frame->type));
    }
    if (const auto kept = channel::message_of<channel::Kept>(*frame); !kept) {
      return tl::make_unexpected(kept.error());
    }
    listeners.add(std::move(frame->descriptors[0]));
  }
}

}  // namespace

Result<std::unique_ptr<FormerWorker>> FormerWorker::find(const std::filesystem::path& folder,
                                                         uid_t user,
                                                         dataplane::InheritedListeners& listeners) {
  auto socket = channel::Door::knock(folder);
  auto peer = socket ? sys::Peer::of(socket->fd()) : tl::make_unexpected(socket.error());
  if (!peer) {
    if (peer.error().code != ErrorCode::not_found) {
      log::warn("{}", peer.error().message);
    }
    return nullptr;
  }
  if (peer->uid() != user) {
    log::warn("process {} is not the worker of an earlier supervisor: it is user {}'s", peer->pid(),
              peer->uid());
    return nullptr;
  }
  const auto asked = ask(*socket, listeners);
  if (asked) {
    log::info(
        "worker {} of the supervisor before us serves on until ours does; {} listening "
        "sockets taken over",
        peer->pid(), listeners.size());
    return std::unique_ptr<FormerWorker>(new FormerWorker(*std::move(socket), *std::move(peer)));
  }
  const auto who = "worker " + std::to_string(peer->pid()) + " of the supervisor before us";
  if (asked.error().code == ErrorCode::unsupported) {
    return fail(ErrorCode::unsupported,
                who + " serves on and cannot be taken over: " + asked.error().message +
                    "; it ends by itself after [DEFAULT] hand_over_time, or by SIGTERM");
  }
  log::error("{}: {}; it is ended", who, asked.error().message);
  peer->kill();
  for (const auto until = steady_clock::now() + kDeath;
       !peer->ended() && steady_clock::now() < until;) {
    std::this_thread::sleep_for(5ms);
  }
  return nullptr;
}

void FormerWorker::drain(const channel::Drain& drain, std::chrono::milliseconds at_most) {
  const auto sent =
      socket_.send(static_cast<std::uint16_t>(channel::Type::drain), channel::encode(drain));
  if (!sent || !*sent) {
    log::warn("worker {} of the supervisor before us cannot be told to end", pid());
  }
  until_ =
      std::min(until_.value_or(steady_clock::time_point::max()), steady_clock::now() + at_most);
}

bool FormerWorker::ended() {
  if (!peer_.ended() && until_ && steady_clock::now() >= *until_) {
    log::warn("worker {} of the supervisor before us has not ended; it is killed", pid());
    until_.reset();
    peer_.kill();
  }
  return peer_.ended();
}

Result<dataplane::InheritedListeners> listeners_left(const std::filesystem::path& folder,
                                                     uid_t user,
                                                     std::unique_ptr<FormerWorker>& former) {
  dataplane::InheritedListeners left;
  for (auto& descriptor : sys::stored_descriptors()) {
    left.add(std::move(descriptor));
  }
  const auto stored = left.size();
  auto found = FormerWorker::find(folder, user, left);
  if (!found) {
    return tl::make_unexpected(std::move(found.error()));
  }
  former = *std::move(found);
  if (stored != 0) {
    log::info("systemd has kept {} listening sockets of the supervisor before us", stored);
  }
  return left;
}

}  // namespace metatap::apps
