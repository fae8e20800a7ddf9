// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metatap/directory.hpp"
#include "metatap/exchange.hpp"

namespace metatap::agent::testing_support {

/// Runs a coroutine to its end.
template <class T>
T run(boost::asio::io_context& loop, boost::asio::awaitable<T> task) {
  std::optional<T> result;
  boost::asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
    if (error) {
      std::rethrow_exception(error);
    }
    result = std::move(value);
  });
  // Connections kept for reuse would keep the loop running.
  while (!result && loop.run_one() > 0) {
  }
  return std::move(*result);
}
/// On a loop of its own, which nobody else may still be waking at the end.
template <class T>
T run(boost::asio::awaitable<T> task) {
  boost::asio::io_context loop;
  return run(loop, std::move(task));
}

/// An API that remembers what it was asked and answers as told.
class RecordingApi : public Handler {
 public:
  struct Seen {
    std::string method, target, body;
    std::vector<std::pair<std::string, std::string>> headers;
  };

  bool at_once = true;
  std::vector<std::function<void()>> waiting;  ///< else: each answers one request
  std::function<Response(const Seen&)> respond = [](const Seen&) { return Response{}; };
  std::vector<Seen> seen;

 private:
  std::optional<Response> handle(const Request& request, boost::asio::io_context&,
                                 Continuation& then) override {
    if (at_once) {
      return reply(request);
    }
    waiting.emplace_back([this, &request, &then] { then.answered(reply(request)); });
    return std::nullopt;
  }
  Response reply(const Request& request) {
    Seen one{
        std::string(request.method), std::string(request.target), std::string(request.body), {}};
    for (const auto& header : request.headers) {
      one.headers.emplace_back(header.name, header.value);
    }
    seen.push_back(std::move(one));
    return respond(seen.back());
  }
};

/// A directory with a cache in front of its source, both set by the test.
class ScriptedDirectory : public Directory {
 public:
  Result<Identity> known(const DirectoryQuery&) const override { return cached; }
  boost::asio::awaitable<Result<Identity>> find(const DirectoryQuery& query,
                                                Freshness freshness) override {
    finds.emplace_back(freshness, std::string(query.address));
    co_return asked;
  }

  Result<Identity> cached = fail(ErrorCode::unavailable, "not cached");
  Result<Identity> asked = fail(ErrorCode::not_found, "nobody");
  std::vector<std::pair<Freshness, std::string>> finds;
};

}  // namespace metatap::agent::testing_support
