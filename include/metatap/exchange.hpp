// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace boost::asio {
class io_context;
}

/// What crosses the stage boundaries: one HTTP request, one response. The same values travel
/// between stages in one process and over the wire, with the same headers.
namespace metatap {

struct Header {
  std::string_view name, value;
};

/// Who sent the request to this stage: the previous stage, never the guest.
struct Peer {
  bool in_process = false;   ///< the fused pipeline; trusted like ourselves
  std::string_view address;  ///< TCP: no port. The operator's UNIX socket: "uid 0, pid 77"
};

/// The previous stage where it is in this process.
inline const Peer kOurselves{.in_process = true, .address = {}};

/// Views into memory that the caller keeps until the response is there.
struct Request {
  std::string_view method = "GET";
  std::string_view target = "/";  ///< origin form, still percent-encoded, with the query
  std::span<const Header> headers;
  std::string_view body;
  const Peer* peer = nullptr;  ///< never null inside a stage

  /// The value of the first header of that name (any case), or nullopt.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
  /// How many headers of that name there are.
  [[nodiscard]] std::size_t count(std::string_view name) const;
};

/// A body: shared immutable bytes served from memory, with at most one insertion
/// (the random seed), or bytes of its own.
class Body {
 public:
  Body() = default;
  explicit Body(std::string bytes) : own_(std::move(bytes)) {}
  explicit Body(std::shared_ptr<const std::string> bytes)
      : shared_(std::move(bytes)), split_(shared_->size()) {}
  Body(std::shared_ptr<const std::string> bytes, std::size_t offset, std::string insertion)
      : shared_(std::move(bytes)), split_(offset), own_(std::move(insertion)) {}

  [[nodiscard]] std::size_t size() const { return (shared_ ? shared_->size() : 0) + own_.size(); }
  /// In order; empty views where there is nothing. Valid while this Body lives and stays put.
  [[nodiscard]] std::array<std::string_view, 3> segments() const {
    const std::string_view all = shared_ ? std::string_view(*shared_) : std::string_view();
    return {all.substr(0, split_), own_, all.substr(split_)};
  }
  [[nodiscard]] std::string str() const {
    std::string all;
    all.reserve(size());
    for (const auto part : segments()) {
      all.append(part);
    }
    return all;
  }

 private:
  std::shared_ptr<const std::string> shared_;
  std::size_t split_ = 0;
  std::string own_;  ///< all of it, or what is inserted
};

struct Response {
  unsigned status = 200;
  std::string content_type;  ///< empty: no such header
  Body body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< further ones, e.g. Retry-After
  /// HEAD and the like: the length to announce when it is not the body's.
  std::optional<std::size_t> content_length;
  /// The connection to the client is not to be used again after this response.
  bool close = false;
  /// How many hops its packets may travel; 0: as many as usual. They are sent so until the next
  /// response, so that what is sent again travels no further either.
  std::uint8_t hop_limit = 0;
};

/// Who waits for a response.
class Continuation {
 public:
  virtual void answered(Response&& response) noexcept = 0;

 protected:
  ~Continuation() = default;
};

/// A stage: request in, response out. Thread-safe; called on any worker. Errors are responses.
class Handler {
 public:
  virtual ~Handler() = default;

  /// Returns the response when it is there at once, as almost always in a fused pipeline. nullopt:
  /// `then` gets it, exactly once and on this thread, perhaps before this returns. Until then the
  /// request and `then` stay where they are.
  ///
  /// `here` is the calling thread's context. When it ends before there is a response, `then` is
  /// told so by a 503. A stage that throws has answered 500; the log says why.
  [[nodiscard]] std::optional<Response> ask(const Request& request, boost::asio::io_context& here,
                                            Continuation& then) noexcept;

 private:
  /// May throw only as long as nobody else has `then`.
  [[nodiscard]] virtual std::optional<Response> handle(const Request& request,
                                                       boost::asio::io_context& here,
                                                       Continuation& then) = 0;
};

/// What a stage that threw has answered: 500, and a line in the log.
[[nodiscard]] Response failed_response(const std::exception_ptr& error) noexcept;

/// What makes sure that a continuation is called exactly once: 503 if nobody else does.
class Promise {
 public:
  explicit Promise(Continuation& then) : then_(&then) {}
  Promise(Promise&& other) noexcept : then_(std::exchange(other.then_, nullptr)) {}
  Promise& operator=(Promise&&) = delete;
  ~Promise();
  void keep(Response response) noexcept {
    std::exchange(then_, nullptr)->answered(std::move(response));
  }

 private:
  Continuation* then_;
};

}  // namespace metatap
