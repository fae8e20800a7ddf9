// SPDX-License-Identifier: Apache-2.0
#include "http/shard.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <utility>

namespace metatap::http {
namespace {

constexpr unsigned kLead = 2;               // connections more than another worker has
constexpr std::int64_t kLookAgain = 500;    // ms
constexpr std::size_t kOperatorsSpare = 4;  // connections when the process has no descriptors

}  // namespace

Shard::Shard(boost::asio::io_context& its_context, unsigned its_worker, unsigned workers,
             const Limits& its_limits)
    : context(its_context),
      worker(its_worker),
      limits(its_limits),
      budget(its_limits.for_operator ? nullptr : &OverloadShare::of(its_context)),
      memory(budget == nullptr ? nullptr : budget->memory()),
      deadlines(Deadlines::of(its_context)),
      readiness(Readiness::of(its_context)),
      most_(its_limits.connections == 0 ? SIZE_MAX
                                        : (its_limits.connections + workers - 1) / workers),
      spare_descriptors_(its_limits.for_operator ? kOperatorsSpare : 0) {}

void Shard::know(const std::vector<std::shared_ptr<Shard>>& all) {
  std::ranges::copy_if(all, std::back_inserter(others_),
                       [&](const auto& other) { return other.get() != this; });
}

void Shard::open(UniqueFd fd, std::string name, std::shared_ptr<Acceptor> acceptor, Share share) {
  listeners_.push_back(std::make_shared<Listener>(context, std::move(fd), std::move(name),
                                                  std::move(acceptor), share));
  Listener::run(listeners_.back(), shared_from_this());
}

std::vector<const Listener*> Shard::close(std::string_view name) {
  std::vector<const Listener*> closed;
  for (const auto& listener : listeners_) {
    if (listener->name == name) {
      listener->close();
      closed.push_back(listener.get());
    }
  }
  std::erase_if(listeners_, [&](const auto& listener) { return listener->name == name; });
  return closed;
}

void Shard::abort_from(std::span<const Listener* const> gone) {
  for (Session& session : sessions) {
    if (std::ranges::find(gone, session.listener()) != gone.end()) {
      session.abort();
    }
  }
}

void Shard::abort_all() {
  for (Session& session : sessions) {
    session.abort();
  }
}

void Shard::drain() {
  draining = true;
  for (const auto& listener : listeners_) {
    listener->stop();
  }
  listeners_.clear();
  for (Session& session : sessions) {
    if (session.idle()) {
      session.abort();
    }
  }
}

void Shard::accepted(const std::shared_ptr<Listener>& listener, UniqueFd fd,
                     const sockaddr_storage& peer) {
  ++count.accepted;
  Shard& target = listener->share == Share::out ? least_busy() : *this;
  target.load.fetch_add(1, std::memory_order_relaxed);
  if (&target == this) {
    serve(listener, std::move(fd), peer);
    return;
  }
  boost::asio::post(target.context, [shard = target.shared_from_this(), listener, peer,
                                     passed = std::move(fd)]() mutable {
    shard->serve(listener, std::move(passed), peer);
  });
}

std::size_t Shard::room() const {
  const std::size_t open = load.load(std::memory_order_relaxed);
  const std::size_t own = open < most_ ? most_ - open : 0;
  return budget == nullptr ? own : std::min(own, budget->room());
}

/// A look at all sessions costs something, and there may be many listeners.
void Shard::close_resting() {
  const auto now = Deadlines::now();
  if (now < look_again_at_) {
    return;
  }
  look_again_at_ = now + kLookAgain;
  for (Session& session : sessions) {
    if (session.resting()) {
      session.abort();
    }
  }
}

void Shard::put_off(const std::string& name) {
  ++count.put_off;
  close_resting();
  if (load.load(std::memory_order_relaxed) >= most_) {
    full_.warn("{}: {} connections are open on worker {}, as many as there may be: others wait",
               name, most_, worker);
  } else {
    budget->accept_put_off();
  }
}

bool Shard::accept_failed(const std::string& name, int error) {
  ++count.accept_failures;
  failing_.warn("{}: cannot accept: {}", name, std::strerror(error));
  return (error == EMFILE || error == ENFILE) && spare_descriptors_.release();
}

bool Shard::may_keep_alive() {
  if (budget == nullptr || budget->may_keep_alive()) {
    return true;
  }
  budget->keep_alive_ended();
  return false;
}

void Shard::opened() {
  ++count.open;
  if (budget != nullptr) {
    ++budget->counts.connections;
  }
}

void Shard::closed(UniqueFd fd) {
  spare_descriptors_.recover(std::move(fd));
  --count.open;
  load.fetch_sub(1, std::memory_order_relaxed);
  if (budget != nullptr) {
    --budget->counts.connections;
  }
}

/// Passing a connection on costs the other worker's waking, so a small lead is no reason.
Shard& Shard::least_busy() {
  Shard* best = this;
  unsigned least = load.load(std::memory_order_relaxed);
  if (least < kLead) {
    return *this;
  }
  least -= kLead;
  for (const auto& other : others_) {
    const auto shard = other.lock();
    if (const unsigned its = shard ? shard->load.load(std::memory_order_relaxed) : least;
        its < least) {
      least = its;
      best = shard.get();
    }
  }
  return *best;
}

void Shard::serve(const std::shared_ptr<Listener>& listener, UniqueFd fd,
                  const sockaddr_storage& peer) {
  std::unique_ptr<ClientHandler> handler;
  if (!listener->closed()) {
    handler = listener->acceptor->accept(fd.get(), peer, worker);
    if (!handler) {
      ++count.refused;
    }
  }
  if (!handler) {
    load.fetch_sub(1, std::memory_order_relaxed);
    reset_on_close(fd.get());
    return;
  }
  Session::run(shared_from_this(), listener.get(), std::move(fd), std::move(handler));
}

}  // namespace metatap::http
