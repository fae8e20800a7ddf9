// SPDX-License-Identifier: Apache-2.0
#include "dataplane/hooks.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.hpp"
#include "dataplane/programs.hpp"

namespace metatap::dataplane {
namespace {

namespace fs = std::filesystem;

/// From so many devices on, waiting for each grace period takes too long.
constexpr std::size_t kMany = 8;

/// A qdisc that we made and took away again, because no filter would go onto it, is an event for
/// ourselves; so the next try takes its time.
constexpr std::chrono::seconds kMakeAgain{1};

}  // namespace

Reconciler::Reconciler(boost::asio::io_context& control, sys::RcuSwitch rcu)
    : queue(control), rcu_(std::move(rcu)) {
  if (const auto put = rcu_.put_back(); !put) {
    log::warn("data plane: {}", put.error().message);
  }
  queue.observe([this](const WorkQueue::Progress& progress) {
    if (progress.ready == 0) {
      expedited_.reset();
    }
  });
}

void Reconciler::expect_grace_period() {
  if (!expedited_ && queue.progress().ready > kMany) {
    expedited_.emplace(rcu_, true);
  }
}

sys::ExpeditedRcu Reconciler::expedite_for(std::size_t devices) const {
  return sys::ExpeditedRcu(rcu_, devices > kMany);
}

Result<Hooks> Hooks::attach(const Core& core, std::string_view device, unsigned ifindex,
                            const std::vector<Hook>& hooks) {
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
  made.look(device);
  return made;
}

/// The last one first: of two filters the first made the qdisc, which others are still on.
Hooks::~Hooks() {
  while (!attachments_.empty()) {
    attachments_.pop_back();
  }
}

Hooks::Standing Hooks::look(std::string_view device, std::chrono::milliseconds patience) {
  using MakeQdisc = TcAttachment::MakeQdisc;
  const auto now = Clock::now();
  const bool make = now >= make_from_.value_or(now + patience);
  Standing worst = Standing::attached;
  for (auto& attachment : attachments_) {
    worst = std::max(worst, attachment.look(make ? MakeQdisc::yes : MakeQdisc::no));
  }
  if (worst != Standing::bare) {
    make_from_.reset();
  } else if (make || !make_from_) {
    make_from_ = now + (make ? kMakeAgain : patience);
  }
  if (auto whom = after_whom(); whom != told_) {
    if (!whom.empty()) {
      log::warn("{}: {}", device, whom);
    } else if (worst == Standing::attached) {
      log::info("{}: first in its chain", device);
    }
    told_ = std::move(whom);
  }
  return worst;
}

std::vector<std::string> Hooks::before() const {
  std::vector<std::string> names;
  for (const auto& attachment : attachments_) {
    std::ranges::copy(attachment.before(), std::back_inserter(names));
  }
  return names;
}

std::string Hooks::after_whom() const {
  const auto behind = std::ranges::find_if(
      attachments_, [](const auto& attachment) { return !attachment.before().empty(); });
  return behind == attachments_.end() ? std::string() : behind->after_whom();
}

std::optional<Overtaking> Hooks::overtaken() const {
  std::optional<Overtaking> last;
  for (const auto& attachment : attachments_) {
    if (const auto& one = attachment.overtaken(); one && (!last || last->when < one->when)) {
      last = one;
    }
  }
  return last;
}

std::string Hooks::problem() const {
  return make_from_ ? "somebody took our filter away; it is put back in a moment" : after_whom();
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
  return attachments_.empty() || make_from_ ? std::string_view() : attachments_.front().kind();
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
