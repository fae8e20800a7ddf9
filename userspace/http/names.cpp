// SPDX-License-Identifier: Apache-2.0
#include "http/names.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

namespace metatap::http {
namespace {

namespace asio = boost::asio;

Result<Names::Addresses> look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0) {
    return fail(ErrorCode::unavailable, host + ": " + ::gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, ::freeaddrinfo);
  Names::Addresses addresses;
  for (const auto* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET || entry->ai_family == AF_INET6) {
      asio::ip::tcp::endpoint endpoint;
      endpoint.resize(entry->ai_addrlen);
      std::memcpy(endpoint.data(), entry->ai_addr, entry->ai_addrlen);
      addresses.push_back(endpoint.address());
    }
  }
  if (addresses.empty()) {
    return fail(ErrorCode::unavailable, host + ": it has no address");
  }
  return addresses;
}

}  // namespace

asio::execution_context::id Names::id;

Names::Names(asio::execution_context& context)
    : service(context),
      context_(static_cast<asio::io_context&>(context)),
      look_up_(look_up),
      mailbox_(std::make_shared<Mailbox>(context_.get_executor())) {}

asio::awaitable<Result<Names::Addresses>> Names::find(std::string host,
                                                      std::chrono::milliseconds limit) {
  Name& name = names_[host];
  const auto is_fresh = [&name] {
    return !name.found.empty() && Clock::now() - name.found_at < kFresh;
  };
  if (!is_fresh()) {
    const auto began = Clock::now();
    const bool usable = !name.found.empty() && began - name.found_at < kOld;
    if (!name.asked &&
        (name.failed_at == Clock::time_point() || began - name.failed_at >= kAfterFailure)) {
      ask(host, name);
    }
    if (name.asked) {
      asio::steady_timer timer(context_, usable ? std::min(limit, kPatience) : limit);
      const auto place = name.waiting.insert(name.waiting.end(), &timer);
      co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
      name.waiting.erase(place);
    }
    if (!is_fresh() && !usable) {
      if (name.asked) {
        co_return fail(ErrorCode::timeout, host + ": no name server has answered in time");
      }
      co_return tl::make_unexpected(name.error);
    }
  }
  co_return name.found;
}

void Names::ask(const std::string& host, Name& name) {
  try {
    // Not waited for, not even at the end: it may take as long as it likes and has all it needs.
    std::thread([this, host, look_up = look_up_, mailbox = mailbox_] {
      mailbox->post([this, host, addresses = look_up(host)]() mutable {
        answered(host, std::move(addresses));
      });
    }).detach();
    name.asked = true;
  } catch (const std::system_error& error) {
    name.error = {ErrorCode::unavailable, host + ": " + error.what()};
    name.failed_at = Clock::now();
  }
}

void Names::answered(const std::string& host, Result<Addresses> addresses) {
  Name& name = names_[host];
  name.asked = false;
  if (addresses) {
    name.found = *std::move(addresses);
    name.found_at = Clock::now();
  } else {
    name.error = std::move(addresses.error());
    name.failed_at = Clock::now();
  }
  for (auto* timer : name.waiting) {
    timer->cancel();
  }
}

}  // namespace metatap::http
