// SPDX-License-Identifier: Apache-2.0
#include "dataplane/hooks.hpp"

#include <algorithm>

#include "dataplane/programs.hpp"

namespace metatap::dataplane {
namespace {

namespace fs = std::filesystem;

/// From so many devices on, waiting for each grace period takes too long.
constexpr std::size_t kMany = 8;

}  // namespace

Reconciler::Reconciler(boost::asio::io_context& control, bool expedite)
    : queue(control), expedite_(expedite) {
  queue.observe([this](const WorkQueue::Progress& progress) {
    if (progress.ready == 0) {
      expedited_.reset();
    }
  });
}

void Reconciler::expect_grace_period() {
  if (expedite_ && !expedited_ && queue.progress().ready > kMany) {
    expedited_.emplace(true);
  }
}

sys::ExpeditedRcu Reconciler::expedite_for(std::size_t devices) const {
  return sys::ExpeditedRcu(expedite_ && devices > kMany);
}

Result<Hooks> Hooks::attach(const Core& core, unsigned ifindex, const std::vector<Hook>& hooks) {
  Hooks made;
  made.attachments_.reserve(hooks.size());
  for (const auto& hook : hooks) {
    auto attached =
        TcAttachment::attach(core.programs->program(hook.program), ifindex, core.options.attach,
                             core.programs->links_path() / hook.pin, hook.side);
    if (!attached) {
      return tl::make_unexpected(std::move(attached.error()));
    }
    made.attachments_.push_back(*std::move(attached));
  }
  return made;
}

/// The last one first: of two filters the first made the qdisc, which others are still on.
Hooks::~Hooks() {
  while (!attachments_.empty()) {
    attachments_.pop_back();
  }
}

bool Hooks::alive() const {
  return std::ranges::all_of(attachments_, &TcAttachment::alive);
}

void Hooks::keep() {
  for (auto& attachment : attachments_) {
    attachment.keep();
  }
}

void Hooks::leave_filters() {
  for (auto& attachment : attachments_) {
    if (attachment.kind() == "clsact") {
      attachment.keep();
    }
  }
}

std::string_view Hooks::kind() const {
  return attachments_.empty() ? std::string_view() : attachments_.front().kind();
}

void sweep_pins(const fs::path& directory, std::initializer_list<std::string_view> prefixes,
                const std::set<std::string>& live) {
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().string();
    const bool ours = std::ranges::any_of(
        prefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
    if (ours && !live.contains(name)) {
      stale.push_back(it->path());
    }
  }
  for (const auto& pin : stale) {
    fs::remove(pin, error);
  }
}

}  // namespace metatap::dataplane
