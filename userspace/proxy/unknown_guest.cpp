// SPDX-License-Identifier: Apache-2.0
#include "proxy/unknown_guest.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string_view>
#include <utility>

#include "http/deadlines.hpp"
#include "http/overload.hpp"
#include "http/response_writer.hpp"
#include "proxy/change_board.hpp"
#include "proxy/guest_session.hpp"
#include "proxy/hung_up.hpp"
#include "proxy/refusal_info.hpp"

namespace metatap::proxy {
namespace {

using Clock = http::Meter::Clock;

/// Requests held at a time. A guest that boots asks once or twice; and what is held is a head of at
/// most max_head and its connection: with all of them some 10 MB.
constexpr unsigned kMostOfDevice = 4, kMost = 1024;
/// Whoever has hung up is found after so long.
constexpr std::chrono::milliseconds kLookEvery{1000};

constexpr std::string_view kUnknown = "unknown_port", kTooMany = "too_many_held";

class UnknownGuest final : public http::ClientHandler, ChangeBoard::Waiter {
 public:
  UnknownGuest(std::shared_ptr<StageState> shared, unsigned worker, UnknownConnection connection)
      : Waiter(*shared->boards[worker]),
        shared_(std::move(shared)),
        counters_(shared_->counters[worker]),
        budget_(http::OverloadShare::of(shared_->boards[worker]->context())),
        here_(shared_->boards[worker]->context()),
        worker_(worker),
        is_(std::move(connection)) {}
  ~UnknownGuest() override { let_go(); }

  [[nodiscard]] bool permitted() override {
    if (become_known()) {
      return known_->permitted();
    }
    if (is_.caller.origin->revoked()) {
      ++counters_.revoked;
      return false;
    }
    return true;
  }
  [[nodiscard]] const Peer& peer() const override { return kOurselves; }

  void responded(const Request* request, const Response& response,
                 std::chrono::milliseconds read) override {
    if (known_) {
      known_->responded(request, response, read);
      return;
    }
    ++counters_.responses[std::min<std::size_t>(response.status, counters_.responses.size() - 1)];
    const auto path = request != nullptr ? path_class_of(request->target) : PathClass::malformed;
    shared_->own.answered(path, response.status);
    const auto reason = reason_.empty() ? reason_of(request, response) : reason_;
    shared_->note({.caller = is_.caller,
                   .request = request,
                   .status = response.status,
                   .bytes = response.body.size(),
                   .read = read,
                   .reason = reason});
    if (auto* const inbox = shared_->inbox(worker_)) {
      auto answer = answer_of(request, response, reason);
      answer.verdict = verdict_of(answer);
      shared_->keep(inbox, is_.caller, answer, 0);
    }
    reason_ = {};
  }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override {
    if (become_known()) {
      return known_->ask(request, here, then);
    }
    const auto longest = shared_->options.hold_unknown;
    if (longest.count() == 0 || !request.body.empty() || process_ends() ||
        is_.caller.origin->revoked()) {
      return refuse(counters_.held_unknown, kUnknown);
    }
    auto place = is_.places.port.also(&Load::waiting);
    LoadShare everybody(shared_->unknown, &Load::waiting);
    if (place.others() >= kMostOfDevice || everybody.others() >= kMost) {
      return refuse(counters_.holds_refused, kTooMany);
    }
    request_ = &request;
    then_ = &then;
    place_ = std::move(place);
    everybody_ = std::move(everybody);
    until_ = http::Deadlines::now() + longest.count();
    ++counters_.held;
    --budget_.counts.requests_in_flight;
    join({});
    look_soon();
    return std::nullopt;
  }

  /// Somebody has been told of, or it is time, or the process ends.
  void look() noexcept override {
    if (become_known()) {
      ++counters_.held_known;
      let_go();
      auto& then = *std::exchange(then_, nullptr);
      if (auto response = known_->ask(*request_, here_, then)) {
        then.answered(*std::move(response));
      }
    } else if (is_.caller.origin->revoked() || process_ends() || hung_up(is_.fd) ||
               http::Deadlines::now() >= until_) {
      finish();
    } else {
      look_soon();
    }
  }

  void give_up() noexcept override { finish(); }

  /// The session may go on to its next request at once, and we with it.
  void finish() noexcept {
    let_go();
    std::exchange(then_, nullptr)->answered(refuse(counters_.held_unknown, kUnknown));
  }

  void look_soon() { look_at(std::min(until_, http::Deadlines::now() + kLookEvery.count())); }

  /// It waits no more; others may have its place.
  void let_go() noexcept {
    leave();
    if (std::exchange(place_, {})) {
      everybody_ = {};
      --counters_.held;
      ++budget_.counts.requests_in_flight;
    }
  }

  [[nodiscard]] Response refuse(http::Count& counter, std::string_view reason) {
    ++counter;
    reason_ = reason;
    shared_->unknown_devices.warn(
        "device {}: its guest is answered 503: it is not known whose the device is",
        is_.caller.origin->device);
    return http::busy_response("it is not known yet who asks");
  }

  /// True: it is a guest's session now. What has come is judged as of a connection that was
  /// accepted now, also by how many there may be.
  [[nodiscard]] bool become_known() {
    if (known_ || !is_.caller.origin->revoked()) {
      return known_ != nullptr;
    }
    Caller now = is_.resolver->caller_of(is_.fd, is_.peer);
    if (!now.origin || now.origin->revoked() || now.origin->unknown()) {
      return false;
    }
    auto places = shared_->admission.admit(now, shared_->access.port_of(*now.origin).connections());
    if (places.refusal != Refusal::none) {
      const auto refusal = info_of(places.refusal);
      ++(counters_.*refusal.counter);
      shared_->refused.warn("port {}: a connection of its guest at {} is refused: {}",
                            now.origin->port_id, now.address, refusal.sentence);
      return false;
    }
    is_.places = {};
    known_ = make_guest_session(shared_, worker_, std::move(now), std::move(places),
                                GuestSocket::of(is_.fd, is_.peer));
    return true;
  }

  const std::shared_ptr<StageState> shared_;
  WorkerCounters& counters_;
  http::OverloadShare& budget_;
  boost::asio::io_context& here_;
  const unsigned worker_;
  UnknownConnection is_;
  std::unique_ptr<http::ClientHandler> known_;  ///< null: it is not known who it is
  // Of the request that is held:
  LoadShare place_, everybody_;  ///< empty: none is
  const Request* request_ = nullptr;
  Continuation* then_ = nullptr;
  std::int64_t until_ = 0;   ///< as http::Deadlines counts
  std::string_view reason_;  ///< of the answer that is ours
};

}  // namespace

std::unique_ptr<http::ClientHandler> make_unknown_guest(std::shared_ptr<StageState> shared,
                                                        unsigned worker,
                                                        UnknownConnection connection) {
  return std::make_unique<UnknownGuest>(std::move(shared), worker, std::move(connection));
}

}  // namespace metatap::proxy
