// SPDX-License-Identifier: Apache-2.0
#include "inventory/file_watch.hpp"

#include <sys/inotify.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/log.hpp"
#include "base/mailbox.hpp"
#include "inventory/store_thread.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {

namespace asio = boost::asio;

namespace {

/// Writers often touch a file several times in a row; wait until they have finished.
constexpr auto kSettle = std::chrono::milliseconds(50);
constexpr auto kLookAgain = std::chrono::seconds(5);

/// Events of what becomes of the files there.
Result<UniqueFd> events_of(const std::filesystem::path& directory) {
  constexpr auto kEvents =
      IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB | IN_MOVE_SELF;
  UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd || ::inotify_add_watch(fd.get(), directory.c_str(), kEvents) < 0) {
    return fail_errno(errno, "watch " + directory.string());
  }
  return fd;
}

}  // namespace

class FileWatch::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const asio::any_io_executor& executor, std::filesystem::path file,
       std::function<void()> look)
      : directory_(file.has_parent_path() ? file.parent_path() : "."),
        look_(std::move(look)),
        mailbox_(std::make_shared<Mailbox>(executor)),
        events_(executor),
        settle_(executor),
        look_again_(executor) {}

  void start() {
    watch();
    look_later();
  }
  void stop() {
    stopped_ = true;
    mailbox_->close();
    events_.close();
    settle_.cancel();
    look_again_.cancel();
  }

 private:
  /// On a thread: where a file system hangs, so does who asks for its events.
  void watch() {
    if (!std::exchange(asking_, true)) {
      thread_.run([directory = directory_, mailbox = mailbox_, self = weak_from_this()] {
        mailbox->post([self, events = events_of(directory)]() mutable {
          if (const auto impl = self.lock(); impl && !impl->stopped_) {
            impl->watched(std::move(events));
          }
        });
      });
    }
  }

  /// Without events the timer alone does the work, later.
  void watched(Result<UniqueFd> events) {
    asking_ = false;
    if (!events) {
      if (!std::exchange(blind_, true)) {
        log::warn("inventory: {}; the file is looked at every {} s", events.error().message,
                  kLookAgain.count());
      }
      return;
    }
    blind_ = false;
    events_.assign(events->release());
    wait_for_event();
    look_();  // at what came between the last look and now
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

  /// The directory that is watched was deleted or renamed: one that takes its place is another.
  [[nodiscard]] bool tells_of_the_end(std::size_t size) const {
    for (std::size_t at = 0; at + sizeof(inotify_event) <= size;) {
      inotify_event event{};
      std::memcpy(&event, event_.data() + at, sizeof(event));
      if ((event.mask & (IN_IGNORED | IN_MOVE_SELF)) != 0) {
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

  const std::filesystem::path directory_;
  const std::function<void()> look_;
  const std::shared_ptr<Mailbox> mailbox_;
  asio::posix::stream_descriptor events_;
  asio::steady_timer settle_, look_again_;
  std::array<char, 4096> event_{};
  bool settling_ = false, stopped_ = false;
  bool asking_ = false;  ///< the thread asks for events
  bool blind_ = false;   ///< it has been said that there are none
  StoreThread thread_{"file watch"};
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
