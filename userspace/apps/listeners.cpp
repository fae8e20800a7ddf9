// SPDX-License-Identifier: Apache-2.0
#include "apps/listeners.hpp"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.hpp"
#include "sys/notify.hpp"

namespace metatap::apps {
namespace {

constexpr int kBacklog = 4096;

/// Whoever holds it, nobody can connect to it any more, and its address is free.
void end_listening(const GuestListener& listener) {
  ::shutdown(listener.fd.get(), SHUT_RDWR);
}

/// Without a colon, and short: all names together are one word of the next process' environment.
std::string name_in_store(int fd) {
  struct stat about{};
  return ::fstat(fd, &about) == 0 ? "l" + std::to_string(about.st_ino) : "l";
}

}  // namespace

Listeners::Listeners(unsigned workers) : workers_(workers), most_stored_(sys::descriptor_store()) {}

void Listeners::open(GuestListener listener) {
  if (!open_) {
    end_listening(listener);
  }
  const auto name = listener.name;
  const auto [at, fresh] = all_.insert_or_assign(name, std::move(listener));
  store(name, at->second.fd.get());
  send(name, at->second);
}

void Listeners::close(const std::string& name) {
  const auto found = all_.find(name);
  if (found == all_.end()) {
    return;
  }
  if (left_) {
    all_.erase(found);
    return;
  }
  if (worker_ != nullptr) {
    worker_->send(channel::Close{name});
  }
  end_listening(found->second);
  drop_stored(name);
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
  if (worker_ != nullptr) {  // before anybody can come by a listener
    for (const auto& [place, table] : tables_) {
      worker_->send(table);
    }
  }
  for (const auto& [name, listener] : all_) {
    send(name, listener);
  }
}

void Listeners::close_gate() {
  open_ = false;
  for (const auto& [name, listener] : all_) {
    end_listening(listener);
    drop_stored(name);
  }
}

void Listeners::open_gate() {
  open_ = true;
  for (const auto& [name, listener] : all_) {
    if (::listen(listener.fd.get(), kBacklog) != 0) {
      log::error("{}: cannot listen again: errno {}", name, errno);
    }
    store(name, listener.fd.get());
  }
}

void Listeners::send(const std::string& name, const GuestListener& listener) {
  if (worker_ != nullptr) {
    worker_->send(channel::Listen{name, listener.callers, listener.worker, listener.alone},
                  {listener.fd.get()});
  }
}

void Listeners::store(const std::string& name, int fd) {
  if (most_stored_ == 0 || !open_) {
    return;
  }
  auto stored_as = name_in_store(fd);
  if (stored_.size() < most_stored_ && sys::store_descriptor(stored_as, fd)) {
    stored_[name] = std::move(stored_as);
  } else if (!std::exchange(told_, true)) {
    log::warn(
        "systemd keeps {} of our listening sockets and no more (FileDescriptorStoreMax= of "
        "the unit): at a restart, guests of the others go where when_down says",
        stored_.size());
  }
}

void Listeners::drop_stored(const std::string& name) {
  if (const auto stored = stored_.extract(name)) {
    sys::drop_stored_descriptor(stored.mapped());
  }
}

}  // namespace metatap::apps
