// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "http/deadlines.hpp"
#include "http/detached.hpp"
#include "http/overload.hpp"
#include "http/readiness.hpp"
#include "http/response_reader.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

/// How an exchange over one connection ended.
struct Outcome {
  ResponseReader::State state = ResponseReader::State::failed;
  bool sent = false;  ///< all of the request
};

/// A connected socket. Tries first and waits second.
///
/// Between two exchanges it rests, and then the peer has nothing to say: whatever comes belongs to
/// nobody, and would be taken for the next answer, another guest's. So a resting connection is
/// watched, and closed as soon as there is something to read. What has arrived may not have been
/// told yet: a connection that has rested only since the loop last looked at its sockets is asked
/// for once more before the next exchange, by a system call of its own. One that was found silent
/// by that look is taken at its word: a batch of events is some 100 us long, and what comes after
/// the request has left, which takes longer to be answered, cannot be told from its answer by any
/// means of HTTP/1.1.
class Connection : public Deadlines::Entry, Watch::Alarm {
 public:
  Connection(boost::asio::io_context& context, std::size_t body_limit)
      : reader(body_limit, OverloadShare::of(context).memory()) {
    Deadlines::of(context).add(*this);
  }

  /// Who is told how an exchange ended, once; it may destroy the connection then.
  class Observer {
   public:
    virtual void finished(Outcome outcome) noexcept = 0;

   protected:
    ~Observer() = default;
  };
  /// Writes `request`, which stays where it is, and reads the response into `reader`; an answer may
  /// come, and the connection close, before all is written. `reused`: then a request that could not
  /// be written is not to be waited for. The deadline, if that was it, shows in timed_out(). When
  /// the context ends the exchange has failed.
  virtual void exchange(std::string_view request, bool reused, Observer& observer) = 0;

  /// Whether the deadline passed; a timed-out connection is not used again.
  [[nodiscard]] bool timed_out() const { return timed_out_; }
  void begin(std::int64_t deadline, bool head) {
    expire_at(deadline);
    reader.begin(head);
  }

  /// Begins to rest. False when the peer has said more than was asked, or nothing more will come.
  [[nodiscard]] bool rest(std::chrono::milliseconds longest);
  [[nodiscard]] bool resting() const { return resting_; }
  /// Whether the loop's last look found it silent, so that waking it takes no system call.
  [[nodiscard]] virtual bool known_silent() const = 0;
  /// For the next exchange, if it still rests and nothing has come meanwhile.
  [[nodiscard]] bool wake() { return std::exchange(resting_, false) && unwatch(); }

  ResponseReader reader;

 protected:
  /// Whether the kernel has neither bytes, nor the end, nor an error for us.
  static bool silent(int fd);

 private:
  /// Who waits for it, if anybody does, is to be woken.
  virtual void cancel() = 0;
  virtual void close() = 0;
  /// `alarm` is told what can be read from now on; false if something can already.
  [[nodiscard]] virtual bool watch(Watch::Alarm& alarm) = 0;
  /// Whether nothing has come meanwhile.
  [[nodiscard]] virtual bool unwatch() = 0;
  void expired() final;
  void disturbed() final;

  bool timed_out_ = false, resting_ = false;
};

using ConnectionPtr = std::unique_ptr<Connection>;

/// Without TLS: the hot path. No coroutine of Asio's takes part.
class PlainConnection final : public Connection {
 public:
  PlainConnection(boost::asio::io_context& context, UniqueFd fd, std::size_t body_limit);
  void exchange(std::string_view request, bool reused, Observer& observer) override {
    run(request, reused, observer);
  }
  [[nodiscard]] bool known_silent() const override { return watch_.looked_at_rest(); }

 private:
  Detached run(std::string_view request, bool reused, Observer& observer);
  /// Reads what is there.
  ResponseReader::State receive();
  void cancel() override { watch_.cancel(); }
  void close() override;
  bool watch(Watch::Alarm& alarm) override;
  bool unwatch() override;

  UniqueFd fd_;
  Watch watch_;
  bool drained_ = true;  // the last read found the end of what was there
};

class TlsConnection final : public Connection {
 public:
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp,
                                                  boost::asio::io_context::executor_type>;

  TlsConnection(boost::asio::io_context& context, Socket socket, boost::asio::ssl::context& tls,
                std::size_t body_limit);
  /// `host`: whose certificate it must be, if it is verified.
  boost::asio::awaitable<bool> handshake(const std::string& host, bool verify);
  void exchange(std::string_view request, bool reused, Observer& observer) override;
  [[nodiscard]] bool known_silent() const override { return watch_.looked_at_rest(); }

 private:
  boost::asio::awaitable<Outcome> talk(std::string_view request, bool reused);
  void cancel() override;
  void close() override;
  /// What was read from the socket already: decrypted, or on its way through OpenSSL. Asio keeps
  /// nothing else, as all it read fits in there.
  bool unread();
  bool watch(Watch::Alarm& alarm) override;
  bool unwatch() override;

  boost::asio::io_context& context_;
  boost::asio::ssl::stream<Socket> stream_;
  Watch watch_;  // of the socket under it, while it rests; goes before it
};

}  // namespace metatap::http
