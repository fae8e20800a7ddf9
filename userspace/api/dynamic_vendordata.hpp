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
#include "base/url.hpp"
#include "metatap/exchange.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap::api {

/// Vendordata from REST services (Nova's DynamicJSON provider): each target is sent the instance
/// and answers with JSON of any kind. All targets are asked at once. An answer that was complete
/// serves the instance for `vendordata_dynamic_cache_time`, or until the instance changes; failures
/// are not kept. Thread-safe. Nova's Keystone credentials for targets
/// ([vendordata_dynamic_auth]) are not supported.
class DynamicVendordata {
 public:
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
  struct Target {
    std::string name, url;
    Url parts;
    std::shared_ptr<Handler> upstream;
  };
  struct Cached {
    std::shared_ptr<const Instance> instance;  ///< the answer is for this state of it
    std::chrono::steady_clock::time_point until;
    Json value;
  };

  DynamicVendordata() = default;
  [[nodiscard]] boost::asio::awaitable<Result<Json>> ask_one(const Target& target,
                                                             const std::string& question);
  void remember(const std::shared_ptr<const Instance>& instance, const Json& value);

  VendordataCounts<Counter> counters_;
  std::vector<Target> targets_;
  bool failure_fatal_ = false;
  std::chrono::seconds keep_{60};
  std::mutex mutex_;
  std::unordered_map<std::string, Cached> cache_;
};

}  // namespace metatap::api
