// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/epoll.h>

#include <array>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstdint>
#include <span>
#include <utility>

namespace metatap::http {

class Watch;
struct ByReadiness;
using WatchHook =
    boost::intrusive::list_base_hook<boost::intrusive::tag<ByReadiness>,
                                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// The sockets of the hot path, watched for one io_context. Asio calls epoll_ctl each time that one
/// waits for a descriptor; here a descriptor is registered once, and waiting is a store. All of
/// them hang in one epoll instance, which itself is a descriptor of Asio's: one trip through Asio
/// serves everything that is ready at that moment. (Measured in docs/performance.md.)
///
/// A service of the context; used on its thread only.
class Readiness : public boost::asio::execution_context::service {
 public:
  using key_type = Readiness;
  static boost::asio::execution_context::id id;

  explicit Readiness(boost::asio::execution_context& context);
  static Readiness& of(boost::asio::io_context& context) {
    return boost::asio::use_service<Readiness>(context);
  }

 private:
  friend class Watch;
  /// Small, so that a look is still fresh when its last event is served.
  static constexpr std::size_t kBatch = 16;
  /// So many batches in a row before the rest of Asio gets its turn.
  static constexpr int kRounds = 16;

  void shutdown() override;
  bool control(int operation, Watch& watch, std::uint32_t events);
  /// The watch goes: no event that was fetched for it may reach it.
  void forget(const Watch& watch);
  void arm();
  /// Nobody waits any more, so that the context can run out of work.
  void disarm_if_idle();
  void serve();
  std::size_t serve_batch();
  /// Resting watches hear first what has come: nobody else in the batch may use theirs then.
  void sound_alarms();

  boost::asio::io_context& context_;
  boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type> epoll_;
  boost::intrusive::list<Watch, boost::intrusive::base_hook<WatchHook>,
                         boost::intrusive::constant_time_size<false>>
      waiting_;
  std::array<epoll_event, kBatch> batch_;
  std::span<epoll_event> unserved_;  ///< of the batch
  std::uint64_t looks_ = 0;          ///< how often epoll has been asked
  bool armed_ = false, serving_ = false, ended_ = false;
};

/// One descriptor that a coroutine may wait for. Try first and wait second: readiness is a hint,
/// and an edge that came while nobody waited is kept for the next one who does.
///
/// Does not own the descriptor and goes together with it. At most one coroutine waits at a time.
/// One that still waits when the context ends is destroyed: what waits here is owned by nobody
/// else. One that wants to wait later finds the watch closed.
class Watch : public WatchHook {
 public:
  explicit Watch(Readiness& readiness) : readiness_(readiness) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() { close(); }

  enum class Trigger : std::uint8_t {
    edge,   ///< read until there is nothing more; the kernel forgets it with the descriptor, of
            ///< which there is no copy: close() only right before the descriptor is closed
    level,  ///< what is left is told of again; may have copies, and close() takes it out
  };
  /// False when the kernel has no memory for another one.
  [[nodiscard]] bool open(int fd, Trigger trigger = Trigger::edge);
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  /// A coroutine that waits is not woken by this.
  void close();
  /// Wakes who waits, from the context's loop and not from here.
  void cancel();

  class Wait {
   public:
    Wait(Watch& watch, std::uint32_t events) : watch_(watch), events_(events) {}
    [[nodiscard]] bool await_ready() const noexcept { return watch_.take(events_); }
    bool await_suspend(std::coroutine_handle<> waiter) const {
      return watch_.wait(waiter, events_);
    }
    void await_resume() const noexcept {}

   private:
    Watch& watch_;
    std::uint32_t events_;
  };
  [[nodiscard]] Wait readable() { return {*this, EPOLLIN}; }
  [[nodiscard]] Wait writable() { return {*this, EPOLLOUT}; }

  /// Who is told once that a resting watch has something to read: bytes, the end or an error.
  class Alarm {
   public:
    virtual void disturbed() = 0;

   protected:
    ~Alarm() = default;
  };
  /// While no coroutine waits. False when something has been seen already.
  [[nodiscard]] bool rest(Alarm& alarm);
  void end_rest();
  /// Whether what is served now was found by a look at all sockets that came after rest(): nothing
  /// had come by then, or the alarm would have been raised.
  [[nodiscard]] bool looked_at_rest() const {
    return readiness_.serving_ && readiness_.looks_ != rested_at_;
  }
  /// Whether the peer's end or an error has been seen, be it read or not.
  [[nodiscard]] bool hung_up() const { return hung_up_; }

 private:
  friend class Readiness;
  bool take(std::uint32_t events);
  /// False: the context has ended; the watch is closed then.
  bool wait(std::coroutine_handle<> waiter, std::uint32_t events);
  /// Resumes who waits for one of these, or keeps them.
  void happened(std::uint32_t events);
  void resume() {
    unlink();
    std::exchange(waiter_, {}).resume();
  }

  Readiness& readiness_;
  std::coroutine_handle<> waiter_;
  Alarm* alarm_ = nullptr;
  std::uint64_t rested_at_ = 0;  // the look before the rest
  int fd_ = -1;
  Trigger trigger_ = Trigger::edge;
  bool hung_up_ = false;
  std::uint32_t registered_ = 0, wanted_ = 0, seen_ = 0;
};

}  // namespace metatap::http
