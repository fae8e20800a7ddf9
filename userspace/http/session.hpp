// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/intrusive/list.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "http/acceptor.hpp"
#include "http/deadlines.hpp"
#include "http/detached.hpp"
#include "http/limits.hpp"
#include "http/output_cursor.hpp"
#include "http/readiness.hpp"
#include "http/request_reader.hpp"
#include "metatap/exchange.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

class Listener;
class Shard;

struct BySession;
using SessionHook =
    boost::intrusive::list_base_hook<boost::intrusive::tag<BySession>,
                                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// What a connection needs while it has something to do; idle ones have none.
struct Scratch {
  Scratch(const Limits& limits, std::shared_ptr<MemoryBudget> budget)
      : reader(limits, std::move(budget)) {}
  RequestReader reader;
  std::string out;
};

/// Closing the descriptor will reset the connection.
void reset_on_close(int fd);

/// One connection of a client, one coroutine: read a request, answer it, write the response, and so
/// on; at the end linger where the client has not finished. Lives in the coroutine's frame. Each
/// step tries first; only run() waits.
class Session final : public SessionHook, Deadlines::Entry {
 public:
  /// Serves the connection; it was accepted from that listener.
  static Detached run(std::shared_ptr<Shard> shard, const Listener* listener, UniqueFd fd,
                      std::unique_ptr<ClientHandler> handler);
  ~Session() override;

  [[nodiscard]] const Listener* listener() const { return listener_; }
  /// Nothing of a request is here: may be closed without a word.
  [[nodiscard]] bool idle() const {
    return phase_ == Phase::idle || (phase_ == Phase::reading && nothing_read());
  }
  /// Kept for a next request, of which nothing is here.
  [[nodiscard]] bool resting() const { return phase_ == Phase::idle; }
  /// Closes the descriptor now; the coroutine ends when it notices.
  void abort();

 private:
  enum class Phase : std::uint8_t { idle, reading, handling, writing, lingering };
  enum class Step : std::uint8_t {
    done,  ///< on to the next one
    wait,  ///< for the client
    end,   ///< of the connection
  };
  using State = RequestReader::State;

  /// Suspends until the socket is ready, cancelled by a deadline, or closed.
  struct Ready : Watch::Wait {
    Ready(Session& its_session, std::uint32_t events)
        : Wait(its_session.watch_, events), session(its_session) {}
    [[nodiscard]] bool await_ready() const noexcept {
      return !session.watched() || Wait::await_ready();
    }
    /// Whether to go on.
    [[nodiscard]] bool await_resume() const noexcept {
      return session.watch_.is_open() && !session.expired_;
    }
    Session& session;
  };
  /// Lets the other connections of this worker have their turn.
  struct Yield {
    Session& session;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> coroutine);
    void await_resume() const noexcept {}
  };
  /// Asks the handler; does not suspend if the response is there at once.
  class Asking final : Continuation {
   public:
    explicit Asking(Session& session) : session_(session) {}
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> coroutine) noexcept;
    void await_resume() const noexcept {}

   private:
    void answered(Response&& response) noexcept override;
    Session& session_;
    std::coroutine_handle<> waiter_;
  };

  Session(std::shared_ptr<Shard> shard, const Listener* listener, UniqueFd fd,
          std::unique_ptr<ClientHandler> handler);

  // Read.
  void begin_request();
  /// The time for a request begins.
  void begin_reading();
  /// Some of a request has come, or of what may stand before one.
  void not_whole_yet();
  Step receive();
  /// Whether it is worth while, with nothing to read.
  bool may_wait();
  /// Whether a client that let its time pass is told so.
  [[nodiscard]] bool deserves_answer() const { return !closed_ && (first_ || !nothing_read()); }
  // Answer.
  /// A whole request. False: the client is not wanted any more. There is a response already if the
  /// process has too much to do.
  bool begin_answer();
  /// A request that is none, or not whole in time.
  void refuse();
  void note_read();
  void end_flight();
  // Write.
  void begin_output();
  /// How far this answer's packets may travel, and all that is sent again of it.
  void limit_hops(std::uint8_t hops);
  Step send();
  void finish_response();
  // Linger.
  void begin_linger();
  Step discard();

  Ready readable() { return {*this, EPOLLIN}; }
  Ready writable() { return {*this, EPOLLOUT}; }
  /// The first wait registers the socket; most connections of one request never wait.
  bool watched() { return !closed_ && (watch_.is_open() || watch_.open(socket_)); }
  void borrow_scratch();
  void return_scratch();
  [[nodiscard]] bool nothing_read() const { return !scratch_ || scratch_->reader.empty(); }
  void expired() override;

  std::shared_ptr<Shard> shard_;
  const Listener* listener_;
  UniqueFd fd_;
  Watch watch_;
  int socket_;
  std::unique_ptr<ClientHandler> handler_;
  std::unique_ptr<Scratch> scratch_;
  Request request_;
  std::optional<Response> response_;
  OutputCursor output_;
  std::size_t discarded_ = 0;
  std::int64_t began_ = 0;  // to read a request; as Deadlines::now() counts; 0: not yet
  std::chrono::milliseconds read_for_{0};
  int batch_ = 0;  // requests answered since we last waited
  State state_ = State::need_more;
  Phase phase_ = Phase::reading;
  bool closed_ = false, expired_ = false;
  bool first_ = true;     // request of this connection
  bool drained_ = false;  // all that was there has been read: do not try before waiting
  bool keep_alive_ = true;
  bool linger_ = false;
  std::uint8_t hop_limit_ = 0;  ///< of the socket; 0: the system's
  bool counted_ = false;        // among the requests in flight
};

}  // namespace metatap::http
