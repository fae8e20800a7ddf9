// SPDX-License-Identifier: Apache-2.0
#include "proxy/change_board.hpp"

#include <boost/asio/post.hpp>
#include <utility>

namespace metatap::proxy {
namespace {

constexpr int kAtATime = 32;

}  // namespace

ChangeBoard::ChangeBoard(boost::asio::io_context& context)
    : context_(context), mailbox_(std::make_shared<Mailbox>(context.get_executor())) {}

void ChangeBoard::Waiter::join(std::string_view port_id) {
  place_ = board_.waiting_.emplace(port_id, this);
  http::Deadlines::of(board_.context_).add(*this);
}

void ChangeBoard::Waiter::leave() {
  if (!place_) {
    return;
  }
  board_.waiting_.erase(*std::exchange(place_, std::nullopt));
  http::Deadlines::Entry::unlink();
  CallHook::unlink();
}

void ChangeBoard::changed(std::shared_ptr<const Ports> ports) {
  mailbox_->post([self = shared_from_this(), ports = std::move(ports)] {
    for (const std::string& port : *ports) {
      const auto [first, last] = self->waiting_.equal_range(port);
      for (auto place = first; place != last; ++place) {
        self->call(*place->second);
      }
    }
  });
}

void ChangeBoard::end() {
  mailbox_->post([self = shared_from_this()] {
    self->ended_ = true;
    for (const auto& [port, waiter] : self->waiting_) {
      self->call(*waiter);
    }
  });
}

void ChangeBoard::call(Waiter& waiter) {
  if (!waiter.CallHook::is_linked()) {
    called_.push_back(waiter);
  }
  serve_soon();
}

void ChangeBoard::serve_soon() {
  if (!std::exchange(serving_, true)) {
    boost::asio::post(context_, [self = shared_from_this()] { self->serve(); });
  }
}

void ChangeBoard::serve() {
  serving_ = false;
  for (int count = 0; count < kAtATime && !called_.empty(); ++count) {
    Waiter& waiter = called_.front();
    called_.pop_front();
    waiter.look();
  }
  if (!called_.empty()) {
    serve_soon();
  }
}

void ChangeBoard::close() {
  mailbox_->close();
  ended_ = true;
  while (!waiting_.empty()) {
    waiting_.begin()->second->give_up();
  }
}

}  // namespace metatap::proxy
