// SPDX-License-Identifier: Apache-2.0
#include "proxy/stage.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstddef>
#include <utility>

#include "base/log.hpp"
#include "http/endpoint.hpp"
#include "http/turned_away.hpp"
#include "proxy/guest_session.hpp"
#include "proxy/introduction.hpp"
#include "proxy/refusal_info.hpp"
#include "proxy/unknown_guest.hpp"

namespace metatap::proxy {
namespace {

/// A connection too many.
class Refused final : public http::TurnedAway {
 public:
  Refused(std::shared_ptr<StageState> shared, unsigned worker, Caller caller, Admitted places)
      : shared_(std::move(shared)),
        counters_(shared_->counters[worker]),
        inbox_(shared_->inbox(worker)),
        caller_(std::move(caller)),
        tenancy_(caller_.origin->unknown() ? 0
                                           : shared_->access.port_of(*caller_.origin).tenancy()),
        places_(std::move(places)) {}

  void responded(const Request* request, const Response& response,
                 std::chrono::milliseconds read) override {
    ++counters_.responses[std::min<std::size_t>(response.status, counters_.responses.size() - 1)];
    const auto reason = info_of(places_.refusal).word;
    shared_->note({.caller = caller_,
                   .request = request,
                   .status = response.status,
                   .bytes = response.body.size(),
                   .read = read,
                   .reason = reason});
    if (inbox_ != nullptr) {
      auto answer = answer_of(request, response, reason);
      answer.verdict = verdict_of(answer);
      shared_->keep(inbox_, caller_, answer, tenancy_);
    }
  }

 private:
  const std::shared_ptr<StageState> shared_;
  WorkerCounters& counters_;
  StageState::Inbox* const inbox_;
  const Caller caller_;
  const std::uint32_t tenancy_;
  const Admitted places_;
};

/// Finds out whose a connection from one listener is.
class GuestAcceptor final : public http::Acceptor {
 public:
  GuestAcceptor(std::shared_ptr<StageState> shared, std::shared_ptr<const CallerResolver> resolver)
      : shared_(std::move(shared)), resolver_(std::move(resolver)) {}

  [[nodiscard]] std::unique_ptr<http::ClientHandler> accept(int fd, const sockaddr_storage& peer,
                                                            unsigned worker) override {
    WorkerCounters& counters = shared_->counters[worker];
    Caller caller = resolver_->caller_of(fd, peer);
    if (caller.origin && caller.origin->unknown() && caller.origin->revoked()) {
      caller = resolver_->caller_of(fd, peer);  // a port has just come
    }
    if (!caller.origin || caller.origin->revoked()) {
      ++counters.unidentified;
      shared_->unidentified.warn("a connection{}{} is reset: it is no port's, or not any more",
                                 caller.address.empty() ? "" : " from ", caller.address);
      return nullptr;
    }
    const bool known = !caller.origin->unknown();
    Admitted places = shared_->admission.admit(
        caller, known ? shared_->access.port_of(*caller.origin).connections() : std::nullopt);
    if (places.refusal == Refusal::none && !known) {
      return make_unknown_guest(shared_, worker,
                                {fd, peer, std::move(caller), std::move(places), resolver_});
    }
    if (places.refusal == Refusal::none) {
      return make_guest_session(shared_, worker, std::move(caller), std::move(places),
                                GuestSocket::of(fd, peer));
    }
    const auto refusal = info_of(places.refusal);
    ++(counters.*refusal.counter);
    shared_->refused.warn("port {}: a connection of its guest at {} is refused: {}",
                          caller.origin->port_id, caller.address, refusal.sentence);
    if (!places.answered) {
      return nullptr;
    }
    return std::make_unique<Refused>(shared_, worker, std::move(caller), std::move(places));
  }

 private:
  std::shared_ptr<StageState> shared_;
  std::shared_ptr<const CallerResolver> resolver_;
};

}  // namespace

ProxyStage::ProxyStage(http::Workers& workers, Handler& next, ProxyOptions options,
                       std::optional<PortTagKey> key)
    : workers_(workers),
      shared_(std::make_shared<StageState>(next, std::move(options), std::move(key), workers)),
      server_(workers, shared_->options.limits) {}

ProxyStage::~ProxyStage() {
  stop(std::chrono::milliseconds(0));
}

void ProxyStage::open(GuestListener listener, std::shared_ptr<const CallerResolver> resolver) {
  http::tune_listener(listener.fd.get());
  server_.open(listener.worker, std::move(listener.fd), std::move(listener.name),
               std::make_shared<GuestAcceptor>(shared_, std::move(resolver)),
               listener.alone ? http::Share::out : http::Share::keep);
}

void ProxyStage::tell_own_answers(std::function<void(const AccessEntry&)> tell) {
  shared_->tell_own = std::move(tell);
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

void ProxyStage::introduce(Caller caller) {
  auto& here = workers_.at(0);
  auto its = std::make_unique<Introduction>(shared_->next, std::move(caller), shared_->options,
                                            shared_->key ? &*shared_->key : nullptr, shared_);
  boost::asio::post(here, [&here, shared = shared_, its = std::move(its)]() mutable {
    if (!shared->boards.front()->ended()) {
      Introduction::make(std::move(its), here);
    }
  });
}

void ProxyStage::changed(std::vector<std::string> ports) {
  const auto all = std::make_shared<const ChangeBoard::Ports>(
      std::make_move_iterator(ports.begin()), std::make_move_iterator(ports.end()));
  for (const auto& board : shared_->boards) {
    board->changed(all);
  }
}

void ProxyStage::named() {
  // Nobody's id: on the boards, those wait under it who have no port.
  changed({std::string()});
}

void ProxyStage::drain() {
  server_.drain();
  for (const auto& board : shared_->boards) {
    board->end();
  }
}

void ProxyStage::stop(std::chrono::milliseconds longest) {
  drain();
  server_.stop(longest);
  // Nobody may ask the next stage any more once this returns.
  for (unsigned worker = 0; worker < shared_->boards.size(); ++worker) {
    workers_.run_on(worker, [board = shared_->boards[worker]] { board->close(); });
  }
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
