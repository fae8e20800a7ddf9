// SPDX-License-Identifier: Apache-2.0
#include "apps/worker_process.hpp"

#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/log.hpp"

namespace metatap::apps {
namespace {

constexpr auto kName = "metatap-worker";
/// One that goes lets go of the channel first, and then says why it goes.
constexpr std::chrono::seconds kLastWords{1};

/// By its name on disk: after an upgrade that is the new program.
std::filesystem::path program() {
  static const auto at_start = [] {
    std::error_code none;
    return std::filesystem::read_symlink("/proc/self/exe", none);
  }();
  std::error_code none;
  return std::filesystem::exists(at_start, none) ? at_start : "/proc/self/exe";
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(
    Id id, boost::asio::io_context& control, const DaemonOptions& options,
    const std::filesystem::path& folder, const std::shared_ptr<dataplane::SlotTable>& slots,
    Told told) {
  auto ends = channel::Socket::pair();
  if (!ends) {
    return tl::make_unexpected(std::move(ends.error()));
  }
  auto learned = dataplane::LearnedAddressServer::start(slots);
  if (!learned) {
    return tl::make_unexpected(std::move(learned.error()));
  }
  auto door = channel::Door::make(folder);
  if (!door) {
    return tl::make_unexpected(std::move(door.error()));
  }
  auto arguments = options.arguments;
  arguments.front() = kName;
  arguments.emplace_back("--worker-channel=" + std::to_string(sys::Child::kGiven));
  auto child = sys::Child::start(program(), arguments, ends->second.fd());
  if (!child) {
    return tl::make_unexpected(std::move(child.error()));
  }
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(id, control, *std::move(child),
                                                          std::move(ends->first), *std::move(door),
                                                          *std::move(learned), std::move(told)));
}

WorkerProcess::WorkerProcess(Id id, boost::asio::io_context& control, sys::Child child,
                             channel::Socket socket, channel::Door door,
                             std::unique_ptr<dataplane::LearnedAddressServer> learned, Told told)
    : id_(id),
      child_(std::move(child)),
      door_(std::move(door)),
      learned_(std::move(learned)),
      told_(std::move(told)),
      link_(control, std::move(socket)),
      process_(control, child_.fd()),
      last_words_(control) {
  link_.start(
      [this](channel::Frame frame) {
        heard_ = std::chrono::steady_clock::now();
        return told_.frame(id_, std::move(frame));
      },
      [this](const Error& error) { let_go(error); });
  watch();
}

WorkerProcess::~WorkerProcess() {
  process_.cancel();
  (void)process_.release();  // the child's
}

void WorkerProcess::let_go(const Error& why) {
  last_words_.expires_after(why.code == ErrorCode::unavailable ? kLastWords
                                                               : std::chrono::seconds(0));
  last_words_.async_wait([this, why = why.message, alive = std::weak_ptr<bool>(alive_)](
                             boost::system::error_code cancelled) {
    if (!cancelled && !alive.expired() && !child_.ended()) {
      log::error("worker {}: {}; it is ended", pid(), why);
      kill();
    }
  });
}

void WorkerProcess::watch() {
  process_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
                        if (!error && !alive.expired()) {
                          if (const auto end = child_.ended()) {
                            told_.ended(id_, *end);
                          } else {
                            watch();
                          }
                        }
                      });
}

void WorkerProcess::open_door() {
  if (const auto opened = door_.open(); !opened) {
    log::warn("{}; worker {} would end with us", opened.error().message, pid());
  }
}

void WorkerProcess::welcome(const dataplane::CallerTable& callers, std::uint64_t restarts) {
  link_.send(channel::Welcome{callers.slots(), ::getpid(), restarts},
             {callers.fd(), learned_->other_end(), door_.fd()});
}

}  // namespace metatap::apps
