// SPDX-License-Identifier: Apache-2.0
#include "apps/listeners.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/log.hpp"

namespace metatap::apps {
namespace {

constexpr int kBacklog = 4096;

/// Whoever holds it, nobody can connect to it any more, and its address is free.
void end_listening(const GuestListener& listener) {
  ::shutdown(listener.fd.get(), SHUT_RDWR);
}

}  // namespace

void Listeners::open(GuestListener listener) {
  if (!open_) {
    end_listening(listener);
  }
  const auto name = listener.name;
  const auto [at, fresh] = all_.insert_or_assign(name, std::move(listener));
  send(name, at->second);
}

void Listeners::close(const std::string& name) {
  const auto found = all_.find(name);
  if (found == all_.end()) {
    return;
  }
  if (worker_ != nullptr) {
    worker_->send(channel::Close{name});
  }
  end_listening(found->second);
  const auto rule = found->second.callers;
  all_.erase(found);
  const bool last = std::ranges::none_of(
      all_, [&](const auto& one) { return one.second.callers.place == rule.place; });
  if (rule.by == CallerRule::By::address && last) {
    tables_.erase({rule.place.path, rule.place.id});
  }
}

void Listeners::publish(const PlaceName& place, AddressTable table) {
  auto& kept = tables_[{place.path, place.id}];
  kept = {place, std::move(table)};
  if (worker_ != nullptr) {
    worker_->send(kept);
  }
}

void Listeners::serve_by(channel::Link* worker) {
  worker_ = worker;
  for (const auto& [name, listener] : all_) {
    send(name, listener);
  }
  if (worker_ != nullptr) {
    for (const auto& [place, table] : tables_) {
      worker_->send(table);
    }
  }
}

void Listeners::close_gate() {
  open_ = false;
  for (const auto& [name, listener] : all_) {
    end_listening(listener);
  }
}

void Listeners::open_gate() {
  open_ = true;
  for (const auto& [name, listener] : all_) {
    if (::listen(listener.fd.get(), kBacklog) != 0) {
      log::error("{}: cannot listen again: errno {}", name, errno);
    }
  }
}

void Listeners::send(const std::string& name, const GuestListener& listener) {
  if (worker_ != nullptr) {
    worker_->send(channel::Listen{name, listener.callers, listener.worker, listener.alone},
                  {listener.fd.get()});
  }
}

}  // namespace metatap::apps
