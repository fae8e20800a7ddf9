// SPDX-License-Identifier: Apache-2.0
#include "inventory/file_watch.hpp"

#include <sys/inotify.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/log.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {

namespace asio = boost::asio;

namespace {

/// Writers often touch a file several times in a row; wait until they have finished.
constexpr auto kSettle = std::chrono::milliseconds(50);
constexpr auto kLookAgain = std::chrono::seconds(5);

}  // namespace

class FileWatch::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const asio::any_io_executor& executor, std::filesystem::path file,
       std::function<void()> look)
      : file_(std::move(file)),
        look_(std::move(look)),
        events_(executor),
        settle_(executor),
        look_again_(executor) {}

  void start() {
    watch();
    look_later();
  }
  void stop() {
    stopped_ = true;
    events_.close();
    settle_.cancel();
    look_again_.cancel();
  }

 private:
  /// Without inotify the timer alone does the work, later.
  void watch() {
    UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    auto directory = file_.parent_path();
    if (directory.empty()) {
      directory = ".";
    }
    constexpr auto kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB;
    if (!fd || ::inotify_add_watch(fd.get(), directory.c_str(), kEvents) < 0) {
      if (!std::exchange(blind_, true)) {
        log::warn("inventory: cannot watch {}: {}; it is looked at every {} s", directory.string(),
                  std::generic_category().message(errno), kLookAgain.count());
      }
      return;
    }
    blind_ = false;
    events_.assign(fd.release());
    wait_for_event();
  }

  void wait_for_event() {
    events_.async_read_some(
        asio::buffer(event_), [self = weak_from_this()](auto error, std::size_t size) {
          const auto impl = self.lock();
          if (!impl || impl->stopped_) {
            return;
          }
          if (error || impl->tells_of_the_end(size)) {
            impl->events_.close();  // look_later() watches anew
            return;
          }
          if (!std::exchange(impl->settling_, true)) {
            impl->settle_.expires_after(kSettle);
            impl->settle_.async_wait([self](auto cancelled) {
              if (const auto again = self.lock(); again && !cancelled && !again->stopped_) {
                again->settling_ = false;
                again->look_();
              }
            });
          }
          impl->wait_for_event();
        });
  }

  /// The directory that is watched was deleted: one that takes its place is another.
  [[nodiscard]] bool tells_of_the_end(std::size_t size) const {
    for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
      inotify_event event{};
      std::memcpy(&event, event_.data() + at, sizeof(event));
      if ((event.mask & IN_IGNORED) != 0) {
        return true;
      }
      at += sizeof(event) + event.len;
    }
    return false;
  }

  void look_later() {
    look_again_.expires_after(kLookAgain);
    look_again_.async_wait([self = weak_from_this()](auto cancelled) {
      if (const auto impl = self.lock(); impl && !cancelled && !impl->stopped_) {
        if (!impl->events_.is_open()) {
          impl->watch();
        }
        impl->look_();
        impl->look_later();
      }
    });
  }

  const std::filesystem::path file_;
  const std::function<void()> look_;
  asio::posix::stream_descriptor events_;
  asio::steady_timer settle_, look_again_;
  std::array<char, 4096> event_{};
  bool settling_ = false, stopped_ = false;
  bool blind_ = false;  ///< it has been said that there are no events
};

FileWatch::FileWatch(const asio::any_io_executor& executor, std::filesystem::path file,
                     std::function<void()> look)
    : impl_(std::make_shared<Impl>(executor, std::move(file), std::move(look))) {}

FileWatch::~FileWatch() {
  impl_->stop();
}

void FileWatch::start() {
  impl_->start();
}
void FileWatch::stop() {
  impl_->stop();
}

}  // namespace metatap
