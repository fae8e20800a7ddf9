// SPDX-License-Identifier: Apache-2.0
#include "proxy/stage.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "http/deadlines.hpp"
#include "http/endpoint.hpp"
#include "http/error_page.hpp"
#include "http/joined.hpp"
#include "http/response_writer.hpp"
#include "http/turned_away.hpp"
#include "proxy/access_log.hpp"
#include "proxy/doorkeeper.hpp"
#include "proxy/rebuilt_request.hpp"

namespace metatap::proxy {
namespace {

static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

using Clock = http::Meter::Clock;

/// What haproxy answers 400 (a tunnel, bytes that no target has, a fragment), and percent signs
/// that each of those behind us would read in its own way.
bool can_be_a_request(const Request& request) {
  return request.method != "CONNECT" && is_printable(request.target) &&
         request.target.find('#') == std::string_view::npos &&
         (request.target.find('%') == std::string_view::npos || percent_decoded(request.target));
}

Response malformed(std::string_view detail) {
  auto response = http::plain_response(400, detail);
  response.close = true;
  return response;
}

/// From which port the guest asks; the data plane leaves that as it is.
std::uint16_t source_port_of(const sockaddr_storage& peer) {
  sockaddr_in either{};  // v6 has it at the same place
  std::memcpy(&either, &peer, sizeof(either));
  const bool known = peer.ss_family == AF_INET || peer.ss_family == AF_INET6;
  return known ? ntohs(either.sin_port) : UINT16_MAX;
}

/// As the log has it, of a connection that is refused.
std::string_view name_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::port:
      return "it has as many as a port may have";
    case Refusal::unknown:
      return "addresses that are no port's have as many as they may";
    case Refusal::network:
      return "its network has as many as it may";
    case Refusal::crowded:
    case Refusal::none:
      break;
  }
  return "it has its share";
}

}  // namespace

/// One guest's connection.
class ProxyStage::GuestSession final : public http::ClientHandler, Continuation {
 public:
  GuestSession(std::shared_ptr<Shared> shared, WorkerCounters& counters, Caller caller,
               Admitted places, std::uint16_t source_port)
      : shared_(std::move(shared)),
        counters_(counters),
        caller_(std::move(caller)),
        places_(std::move(places)),
        doorkeeper_(shared_->access, shared_->access.port_of(*caller_.origin), caller_.address,
                    source_port),
        rebuilt_(caller_, shared_->options, shared_->key ? &*shared_->key : nullptr) {
    ++counters_.connections;
  }
  ~GuestSession() override {
    if (in_flight_) {
      --counters_.in_flight;
    }
  }

  [[nodiscard]] bool permitted() override {
    if (caller_.origin->revoked()) {
      ++counters_.revoked;
      return false;
    }
    return true;
  }
  [[nodiscard]] const Peer& peer() const override { return kOurselves; }

  void responded(const Request* request, const Response& response,
                 std::chrono::milliseconds read) override {
    const bool asked = std::exchange(in_flight_, false);
    if (asked) {
      --counters_.in_flight;
      if (response.status >= 502 && response.status <= 504) {
        ++counters_.upstream_errors;
      }
    } else {  // the server's own answer
      shared_->own.answered(
          request != nullptr ? path_class_of(request->target) : PathClass::malformed,
          response.status);
    }
    if (response.status < counters_.responses.size()) {
      ++counters_.responses[response.status];
    }
    if (response.status >= 500) {
      shared_->unanswered.warn("port {}: its guest at {} was answered {}", caller_.origin->port_id,
                               caller_.address, response.status);
    }
    const auto sample = shared_->options.access_log_sample;
    if (sample != 0 && ++asked_ % sample == 0) {
      write_access_log(request, response, read, asked);
    }
  }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override {
    ++counters_.in_flight;
    in_flight_ = true;
    path_ = path_class_of(request.target);
    began_ = Clock::now();
    if (auto response = refuse(request)) {
      measure(shared_->own, response->status);
      return response;
    }
    then_ = &then;
    auto response = shared_->next.ask(rebuilt_.of(request, accept_), here, *this);
    if (response) {
      measure(shared_->passed, response->status);
    }
    return response;
  }

  void answered(Response&& response) noexcept override {
    measure(shared_->passed, response.status);
    std::exchange(then_, nullptr)->answered(std::move(response));
  }

  void measure(http::Meter& meter, unsigned status) {
    answered_ = Clock::now();
    meter.answered(path_, status, answered_ - began_);
  }

  /// What is not for the next stage; nullopt: it goes on.
  [[nodiscard]] std::optional<Response> refuse(const Request& request) {
    if (!can_be_a_request(request)) {
      return malformed("malformed request");
    }
    if (caller_.address_is_guests_choice && shared_->options.neutron_agent) {
      return refuse_address(request);
    }
    const RateLimit& limit = shared_->options.rate_limit;
    if (limit.enabled && !places_.port.load().rate.allow(limit, http::Deadlines::now())) {
      ++counters_.rate_limited;
      return http::plain_response(429);
    }
    const auto noted = NotedHeaders::of(request);
    accept_ = noted.accept;
    if (noted.accepts > 1) {
      accept_list_ = http::joined(request, "Accept");
      accept_ = accept_list_;
    }
    return doorkeeper_.judge(request, noted);
  }

  void write_access_log(const Request* request, const Response& response,
                        std::chrono::milliseconds read, bool asked) const {
    const auto microseconds = [](Clock::duration time) {
      return std::chrono::duration_cast<std::chrono::microseconds>(time);
    };
    const auto instance =
        shared_->instance_of ? shared_->instance_of(caller_.origin->port_id) : std::string();
    AccessEntry entry{.caller = caller_,
                      .instance = instance,
                      .request = request,
                      .status = response.status,
                      .bytes = response.body.size(),
                      .read = read};
    if (asked) {
      entry.stages = microseconds(answered_ - began_);
      entry.write = microseconds(Clock::now() - answered_);
    }
    log::info("{}", line_of(entry));
  }

  /// Neutron's agent goes by the address alone, and one that a guest chose may be another's.
  [[nodiscard]] Response refuse_address(const Request& request) const {
    shared_->without_address.warn(
        "port {} has no fixed address by which Neutron's agent could know it: 404",
        caller_.origin->port_id);
    return http::error_page(request, 404);
  }

  std::shared_ptr<Shared> shared_;
  WorkerCounters& counters_;
  Caller caller_;
  const Admitted places_;
  Doorkeeper doorkeeper_;
  RebuiltRequest rebuilt_;
  std::optional<std::string_view> accept_;  ///< of the request that is under way
  std::string accept_list_;                 ///< what `accept_` is a view of, where it is said twice
  Continuation* then_ = nullptr;
  Clock::time_point began_, answered_;
  PathClass path_ = PathClass::other;
  bool in_flight_ = false;
  static thread_local unsigned asked_;
};

thread_local unsigned ProxyStage::GuestSession::asked_ = 0;

/// A connection too many.
class ProxyStage::Refused final : public http::TurnedAway {
 public:
  Refused(std::shared_ptr<Shared> shared, WorkerCounters& counters, Admitted places)
      : shared_(std::move(shared)), counters_(counters), places_(std::move(places)) {}

  void responded(const Request*, const Response& response, std::chrono::milliseconds) override {
    ++counters_.responses[std::min<std::size_t>(response.status, counters_.responses.size() - 1)];
  }

 private:
  const std::shared_ptr<Shared> shared_;
  WorkerCounters& counters_;
  const Admitted places_;
};

/// Finds out whose a connection from one listener is.
class ProxyStage::GuestAcceptor final : public http::Acceptor {
 public:
  GuestAcceptor(std::shared_ptr<Shared> shared, std::shared_ptr<const CallerResolver> resolver)
      : shared_(std::move(shared)), resolver_(std::move(resolver)) {}

  [[nodiscard]] std::unique_ptr<http::ClientHandler> accept(int fd, const sockaddr_storage& peer,
                                                            unsigned worker) override {
    WorkerCounters& counters = shared_->counters[worker];
    Caller caller = resolver_->caller_of(fd, peer);
    if (!caller.origin || caller.origin->revoked()) {
      ++counters.unidentified;
      return nullptr;
    }
    Admitted places = shared_->admission.admit(caller);
    if (places.refusal == Refusal::none) {
      return std::make_unique<GuestSession>(shared_, counters, std::move(caller), std::move(places),
                                            source_port_of(peer));
    }
    ++counter_of(places.refusal, counters);
    shared_->refused.warn("port {}: a connection of its guest at {} is refused: {}",
                          caller.origin->port_id, caller.address, name_of(places.refusal));
    if (!places.answered) {
      return nullptr;
    }
    return std::make_unique<Refused>(shared_, counters, std::move(places));
  }

 private:
  static http::Count& counter_of(Refusal refusal, WorkerCounters& counters) {
    switch (refusal) {
      case Refusal::port:
        return counters.over_port_cap;
      case Refusal::unknown:
        return counters.over_unknown_cap;
      case Refusal::network:
        return counters.over_network_cap;
      case Refusal::crowded:
      case Refusal::none:
        break;
    }
    return counters.over_fair_share;
  }

  std::shared_ptr<Shared> shared_;
  std::shared_ptr<const CallerResolver> resolver_;
};

ProxyStage::Shared::Shared(Handler& its_next, ProxyOptions its_options,
                           std::optional<PortTagKey> its_key, const http::Workers& workers)
    : next(its_next),
      options(std::move(its_options)),
      key(std::move(its_key)),
      admission(options, workers.overload()),
      access(options.access),
      counters(workers.size()),
      own(workers.size()),
      passed(workers.size()) {}

ProxyStage::ProxyStage(http::Workers& workers, Handler& next, ProxyOptions options,
                       std::optional<PortTagKey> key)
    : shared_(std::make_shared<Shared>(next, std::move(options), std::move(key), workers)),
      server_(workers, shared_->options.limits) {}

ProxyStage::~ProxyStage() = default;

void ProxyStage::open(GuestListener listener, std::shared_ptr<const CallerResolver> resolver) {
  http::tune_listener(listener.fd.get());
  server_.open(listener.worker, std::move(listener.fd), std::move(listener.name),
               std::make_shared<GuestAcceptor>(shared_, std::move(resolver)),
               listener.alone ? http::Share::out : http::Share::keep);
}

void ProxyStage::name_instances(std::function<std::string(std::string_view)> instance_of) {
  shared_->instance_of = std::move(instance_of);
}

ProxyStage::Measured ProxyStage::measured() const {
  return {shared_->own.sums(), shared_->passed.sums()};
}

void ProxyStage::close(const std::string& name) {
  server_.close(name);
}

void ProxyStage::stop(std::chrono::milliseconds drain) {
  server_.stop(drain);
}

ProxyCounters ProxyStage::counters() const {
  ProxyCounters sum{server_.counters(), {}, {}};
  for (const WorkerCounters& worker : shared_->counters) {
    sum += worker;
    for (unsigned status = 0; status < worker.responses.size(); ++status) {
      if (const std::uint64_t count = worker.responses[status]; count != 0) {
        sum.responses[status] += count;
      }
    }
  }
  return sum;
}

}  // namespace metatap::proxy
