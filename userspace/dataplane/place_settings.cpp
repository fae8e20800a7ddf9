// SPDX-License-Identifier: Apache-2.0
#include "dataplane/place_settings.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <ranges>

#include "base/log.hpp"
#include "sys/sysctl.hpp"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace metatap::dataplane {
namespace {

using nlohmann::json;

std::string line_of(std::uint64_t cookie, const PlaceChange& change) {
  return json{{"namespace", cookie},     {"kind", static_cast<int>(change.kind)},
              {"what", change.what},     {"device", change.device},
              {"before", change.before}, {"after", change.after}}
             .dump() +
         "\n";
}

unsigned prefix_of(const Address& address) {
  return address.family == AF_INET ? 32 : 128;
}

sys::Route local_route(unsigned lo, const Address& address) {
  sys::Route route;
  route.destination = address;
  route.prefix = prefix_of(address);
  route.ifindex = lo;
  route.local = true;
  return route;
}

}  // namespace

Result<std::uint64_t> namespace_cookie() {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (!fd || ::getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    return fail_errno(errno, "ask for the namespace's cookie");
  }
  return cookie;
}

PlaceJournal::PlaceJournal(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.empty()) {
    return;
  }
  std::ifstream in(file_);
  for (std::string line; std::getline(in, line);) {
    const auto entry = json::parse(line, nullptr, false);
    if (!entry.is_object()) {
      continue;  // the process was killed while it wrote the last line
    }
    try {
      PlaceChange change{static_cast<PlaceChange::Kind>(entry.at("kind").get<int>()),
                         entry.at("what"), entry.at("device"), entry.at("before"),
                         entry.at("after")};
      changes_[entry.at("namespace").get<std::uint64_t>()].push_back(std::move(change));
    } catch (const json::exception&) {
      log::warn("{}: a line that is not ours was left out", file_.string());
    }
  }
  rewrite();
}

void PlaceJournal::record(std::uint64_t cookie, PlaceChange change) {
  auto& changes = changes_[cookie];
  if (std::ranges::find(changes, change) != changes.end()) {
    return;
  }
  if (!file_.empty()) {
    if (!out_) {
      std::error_code error;
      std::filesystem::create_directories(file_.parent_path(), error);
      out_.reset(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    }
    const auto line = line_of(cookie, change);
    if (::write(out_.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      log::warn("{}: cannot be written; after a crash some settings would not be undone",
                file_.string());
    }
    ++lines_;
  }
  changes.push_back(std::move(change));
}

/// The file as short as it can be; none at all when there is nothing to undo.
void PlaceJournal::rewrite() {
  if (file_.empty()) {
    return;
  }
  std::error_code error;
  if (changes_.empty()) {
    out_.reset();
    lines_ = 0;
    std::filesystem::remove(file_, error);
    return;
  }
  const auto next = file_.string() + ".new";
  out_.reset(::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  lines_ = 0;
  std::string text;
  for (const auto& [cookie, changes] : changes_) {
    for (const auto& change : changes) {
      text += line_of(cookie, change);
      ++lines_;
    }
  }
  if (!out_ || ::write(out_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(next.c_str(), file_.c_str()) != 0) {
    log::warn("{}: cannot be written; after a crash some settings would not be undone",
              file_.string());
  }
}

Status PlaceJournal::set_sysctl(std::uint64_t cookie, const std::string& path,
                                const std::string& value) {
  auto before = sys::get_sysctl(path);
  if (!before) {
    return tl::make_unexpected(std::move(before.error()));
  }
  if (*before == value) {
    return {};
  }
  // Recorded first: killed in between, we undo what was never done, which changes nothing.
  record(cookie, {PlaceChange::Kind::sysctl, path, {}, *before, value});
  return sys::set_sysctl(path, value);
}

Status PlaceJournal::add_local_route(std::uint64_t cookie, sys::Netlink& netlink, unsigned lo,
                                     const Address& address) {
  record(cookie, {PlaceChange::Kind::local_route, address.text(), "lo", {}, {}});
  return netlink.add_route(local_route(lo, address));
}

Status PlaceJournal::add_address(std::uint64_t cookie, sys::Netlink& netlink,
                                 const sys::Link& device, const Address& address) {
  record(cookie, {PlaceChange::Kind::address, address.text(), device.name, {}, {}});
  return netlink.add_address(device.index, address, prefix_of(address));
}

Status PlaceJournal::undo(std::uint64_t cookie, sys::Netlink& netlink) {
  const auto found = changes_.find(cookie);
  if (found == changes_.end()) {
    return {};
  }
  Status first;
  for (const auto& change : found->second | std::views::reverse) {
    Status done;
    if (change.kind == PlaceChange::Kind::sysctl) {
      if (const auto now = sys::get_sysctl(change.what); now && *now == change.after) {
        done = sys::set_sysctl(change.what, change.before);
      }
    } else if (const auto device = netlink.link(change.device)) {
      const auto address = Address::parse(change.what);
      if (address) {
        done = change.kind == PlaceChange::Kind::address
                   ? netlink.delete_address(device->index, *address, prefix_of(*address))
                   : netlink.delete_route(local_route(device->index, *address));
      }
      if (!done && done.error().code == ErrorCode::not_found) {
        done = {};
      }
    }
    if (!done && first) {
      first = std::move(done);
    }
  }
  forget(cookie);
  return first;
}

void PlaceJournal::forget(std::uint64_t cookie) {
  if (changes_.erase(cookie) != 0) {
    std::size_t live = 0;
    for (const auto& [other, changes] : changes_) {
      live += changes.size();
    }
    if (changes_.empty() || lines_ > 2 * live + 1000) {
      rewrite();
    }
  }
}

bool PlaceJournal::has(std::uint64_t cookie, PlaceChange::Kind kind, std::string_view what) const {
  return std::ranges::any_of(changes(cookie), [&](const PlaceChange& change) {
    return change.kind == kind && change.what == what;
  });
}

const std::vector<PlaceChange>& PlaceJournal::changes(std::uint64_t cookie) const {
  static const std::vector<PlaceChange> kNone;
  const auto found = changes_.find(cookie);
  return found == changes_.end() ? kNone : found->second;
}

}  // namespace metatap::dataplane
