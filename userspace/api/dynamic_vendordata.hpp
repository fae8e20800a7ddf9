// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/json.hpp"
#include "api/options.hpp"
#include "api/stats.hpp"
#include "base/back_off.hpp"
#include "base/url.hpp"
#include "http/flight.hpp"
#include "metatap/exchange.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap::api {

/// Vendordata from REST services (Nova's DynamicJSON provider): each target is sent the instance
/// and answers with JSON of any kind. All targets are asked at once. An answer that was complete
/// serves the instance for `vendordata_dynamic_cache_time`, or until the instance changes; one with
/// a failure in it is not kept, as in Nova.
///
/// But a guest asks as often as it likes, and a target that fails should not be asked as often. So
/// one question for an instance is under way at a time, and others wait for its answer; a few
/// questions at once to each target; after three failures in a row for an instance, or of a target
/// for different ones, it is left alone for a pause (BackOff), and until then what failed has
/// failed again, without a question. A log line when a target begins to fail, at most one a minute.
///
/// Thread-safe. Nova's Keystone credentials for targets ([vendordata_dynamic_auth]) are not
/// supported.
class DynamicVendordata {
 public:
  ~DynamicVendordata();
  /// ErrorCode::invalid: a target's url is none, or the CA file cannot be read.
  static Result<std::unique_ptr<DynamicVendordata>> create(const ApiOptions& options);

  /// The targets' values in their order, if still good.
  [[nodiscard]] std::optional<Json> known(const std::shared_ptr<const Instance>& instance);
  /// An error only where failures are fatal; a target that fails is `{}` otherwise.
  [[nodiscard]] boost::asio::awaitable<Result<Json>> ask(std::shared_ptr<const Instance> instance);

  [[nodiscard]] const VendordataCounts<Counter>& counters() const { return counters_; }

  /// What a target is sent.
  [[nodiscard]] static std::string question(const Instance& instance);

 private:
  class Target;
  using Answer = Result<Json>;
  /// What is known for one instance.
  struct Entry {
    std::shared_ptr<const Instance> instance;  ///< it is for this state of it
    std::optional<Answer> answer;              ///< the last one
    std::size_t size = 0;                      ///< of a complete answer, as text; 0: it is none
    std::chrono::steady_clock::time_point until;
    BackOff back_off;
    std::shared_ptr<http::Flight<Answer>> flight;  ///< of the question under way
  };
  class Landing;

  DynamicVendordata();
  /// The entry for that instance as it is now; the mutex is held.
  Entry& entry_of(const std::shared_ptr<const Instance>& instance);
  void make_room(std::chrono::steady_clock::time_point now);
  [[nodiscard]] boost::asio::awaitable<Answer> ask_all(std::shared_ptr<const Instance> instance,
                                                       bool& complete);
  void remember(const std::shared_ptr<const Instance>& instance, const Answer& answer,
                bool complete);

  VendordataCounts<Counter> counters_;
  std::vector<std::unique_ptr<Target>> targets_;
  bool failure_fatal_ = false;
  std::chrono::seconds keep_{60};
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;
  std::size_t kept_ = 0;  ///< bytes of complete answers
};

}  // namespace metatap::api
