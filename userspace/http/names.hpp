// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mailbox.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

/// Host names to addresses, for all that runs on one io_context. getaddrinfo() can neither be told
/// how long it may take nor be called off; so each name that is asked for has a thread of its own
/// for that time, nobody waits for another's name, and nobody longer than he wants to. Who asks for
/// a name that is being asked for waits for the same answer.
///
/// What was found is good for kFresh. When it has to be found again and that takes longer than
/// kPatience, or fails, it serves on for up to kOld: a name server that is away takes nothing away.
///
/// A service of the context; used on its thread only.
class Names : public boost::asio::execution_context::service {
 public:
  using Addresses = std::vector<boost::asio::ip::address>;
  using LookUp = std::function<Result<Addresses>(const std::string& host)>;
  using key_type = Names;
  static boost::asio::execution_context::id id;
  static constexpr std::chrono::seconds kFresh{10}, kOld{3600};
  static constexpr std::chrono::milliseconds kPatience{500};
  static constexpr std::chrono::seconds kAfterFailure{1};  ///< until a name is asked for again

  explicit Names(boost::asio::execution_context& context);
  static Names& of(boost::asio::execution_context& context) {
    return boost::asio::use_service<Names>(context);
  }

  /// Never empty. ErrorCode::timeout: not within `limit`.
  [[nodiscard]] boost::asio::awaitable<Result<Addresses>> find(std::string host,
                                                               std::chrono::milliseconds limit);

  /// What is called on the threads instead of getaddrinfo(), for tests.
  void use(LookUp look_up) { look_up_ = std::move(look_up); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Name {
    Addresses found;  ///< empty: never
    Clock::time_point found_at, failed_at;
    Error error;  ///< why it failed last
    bool asked = false;
    std::list<boost::asio::steady_timer*> waiting;
  };

  void shutdown() override { mailbox_->close(); }
  void ask(const std::string& host, Name& name);
  void answered(const std::string& host, Result<Addresses> addresses);

  boost::asio::io_context& context_;
  LookUp look_up_;
  std::shared_ptr<Mailbox> mailbox_;
  std::map<std::string, Name> names_;  ///< as many as the configuration has
};

}  // namespace metatap::http
