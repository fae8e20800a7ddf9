// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
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
  std::string_view address;  ///< TCP: the peer's address as text, no port
};

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
  explicit Body(std::string bytes)
      : shared_(std::make_shared<const std::string>(std::move(bytes))), split_(shared_->size()) {}
  explicit Body(std::shared_ptr<const std::string> bytes)
      : shared_(std::move(bytes)), split_(shared_->size()) {}
  Body(std::shared_ptr<const std::string> bytes, std::size_t offset, std::string insertion)
      : shared_(std::move(bytes)), split_(offset), insertion_(std::move(insertion)) {}

  [[nodiscard]] std::size_t size() const {
    return (shared_ ? shared_->size() : 0) + insertion_.size();
  }
  /// In order; empty views where there is nothing. Valid while this Body lives and stays put.
  [[nodiscard]] std::array<std::string_view, 3> segments() const {
    if (!shared_) {
      return {};
    }
    const std::string_view all = *shared_;
    return {all.substr(0, split_), insertion_, all.substr(split_)};
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
  std::string insertion_;
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
};

/// Who waits for an answer without a coroutine of Asio's. One of these is called, once, on the
/// thread that asked; the request stays where it is until then.
class Continuation {
 public:
  virtual void answered(Response response) = 0;
  /// It could not be had this way, and nobody acted on the request: handle() is to be asked.
  virtual void unanswered() = 0;
  /// The context ends, and what waits in it goes.
  virtual void abandoned() = 0;

 protected:
  ~Continuation() = default;
};

/// A stage: request in, response out. Implementations are thread-safe and are called on any
/// worker's executor; they answer errors as responses and do not throw.
class Handler {
 public:
  virtual ~Handler() = default;
  /// An answer that needs no waiting. The common case of a fused pipeline. nullopt: ask further.
  [[nodiscard]] virtual std::optional<Response> answer(const Request&) { return std::nullopt; }
  /// An answer that must be waited for, but at one place only (a pooled connection, say): spares
  /// the coroutines of all stages. The context is the calling thread's. False: nothing was done,
  /// ask handle().
  [[nodiscard]] virtual bool ask(const Request&, boost::asio::io_context&, Continuation&) {
    return false;
  }
  [[nodiscard]] virtual boost::asio::awaitable<Response> handle(const Request& request) = 0;
};

}  // namespace metatap
