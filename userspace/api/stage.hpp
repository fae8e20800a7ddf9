// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "api/document.hpp"
#include "api/dynamic_vendordata.hpp"
#include "api/inventory_index.hpp"
#include "api/layout.hpp"
#include "api/options.hpp"
#include "api/pool.hpp"
#include "api/provider_index.hpp"
#include "api/registry.hpp"
#include "api/static_vendordata.hpp"
#include "api/stats.hpp"
#include "base/log_limit.hpp"
#include "base/published.hpp"
#include "metatap/exchange.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap::api {

struct AuthHeaders;

/// What the stage needs from its surroundings.
struct ApiHooks {
  /// Stores a guest's password durably, on whatever thread that has to be, and resumes the caller.
  /// ErrorCode::conflict: there is one already; not_found: no such instance; unavailable: not now;
  /// anything else: it was not stored.
  std::function<boost::asio::awaitable<Status>(std::string instance_id, std::string text)>
      store_password;
  /// Whether an instance that is not there is known not to be: 503 instead of 404 while it is not.
  /// Any thread. None: it is.
  std::function<bool()> inventory_known;
};

/// The nova-style metadata API: who asks (signature or address), for what (path), and the answer,
/// from memory. Contract: Nova's nova/api/metadata/{handler,base,password}.py.
///
/// ask() runs on any worker. apply(), refresh() and the constructor run on one
/// thread (the control thread).
class ApiStage final : public Handler {
 public:
  /// Renders every instance, on several threads. ErrorCode::invalid: the options cannot work
  /// together.
  static Result<std::unique_ptr<ApiStage>> create(ApiOptions options,
                                                  std::shared_ptr<const Inventory> inventory,
                                                  ApiHooks hooks = {});

  /// Renders what the change touched; served from the moment this returns. The ids of the instances
  /// whose answers may be others now.
  std::set<std::string> apply(const InventoryChange& change);
  /// vendor_data.json of an instance: the operator's file, and what the inventory has for this
  /// instance alone as "cloud-init" in it. nullopt: neither is there.
  [[nodiscard]] std::optional<std::string> vendor_data_of(const Instance& instance) const;
  /// vendor_data2.json of an instance; asks the dynamic targets if their answer is not at hand. An
  /// error only where their failures are fatal. Any thread.
  [[nodiscard]] boost::asio::awaitable<Result<std::string>> vendor_data2_of(
      std::shared_ptr<const Instance> instance);
  /// Looks whether the vendordata file has changed. To be called every few seconds.
  void refresh() { static_vendordata_.refresh(); }

  /// As ask(), but nothing is counted. What would have to be waited for is 503.
  [[nodiscard]] Response rehearse(const Request& request);

  [[nodiscard]] ApiStats stats() const;
  [[nodiscard]] const ApiOptions& options() const { return options_; }
  /// The served form of an instance, or nullptr. Any thread.
  [[nodiscard]] std::shared_ptr<const Document> document(std::string_view instance_id) const {
    return registry_.find(instance_id);
  }
  [[nodiscard]] const StaticVendordata& static_vendordata() const { return static_vendordata_; }
  /// The inventory as rendered; on the thread that calls apply().
  [[nodiscard]] const InventoryIndex& index() const { return index_; }

 private:
  using DocumentPtr = std::shared_ptr<const Document>;
  /// Direct mode: which instances have an address.
  using AddressTable = std::unordered_map<std::string, std::vector<std::string>>;

  /// What a request is about once it is known who asks, or the answer that refuses it.
  struct Lookup {
    DocumentPtr document;
    /// The address that stands in for a missing local-ipv4, as it was said, be it empty.
    std::optional<std::string> caller;
    std::optional<Response> refusal;
  };

  /// What cannot be answered without waiting.
  struct Pending {
    Target::Kind kind;  ///< password (a POST), or vendor_data2
    DocumentPtr document;
  };
  using Outcome = std::variant<Response, Pending>;

  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  [[nodiscard]] boost::asio::awaitable<Response> wait_for(const Request& request, Pending pending);

  ApiStage(ApiOptions options, ApiHooks hooks, std::unique_ptr<DynamicVendordata> dynamic,
           std::shared_ptr<const Inventory> inventory);

  [[nodiscard]] std::vector<DocumentPtr> render(
      const std::vector<std::shared_ptr<const Instance>>& instances);
  void index_addresses();

  [[nodiscard]] Outcome route(const Request& request);
  [[nodiscard]] Lookup by_signature(const Request& request) const;
  /// Load-balancer mode: signed is who asks on behalf of guests, not the guest.
  [[nodiscard]] Lookup by_provider(const Request& request, const AuthHeaders& headers) const;
  [[nodiscard]] Lookup by_address(const Request& request) const;
  [[nodiscard]] bool inventory_known() const {
    return !hooks_.inventory_known || hooks_.inventory_known();
  }
  /// 404, or 503 while nobody knows better.
  [[nodiscard]] Response no_such_instance(const Request& request) const;
  [[nodiscard]] Outcome serve(const Request& request, const DocumentPtr& document,
                              const Target& target, const std::optional<std::string>& caller);
  [[nodiscard]] Response meta_data(const Request& request, const DocumentPtr& document,
                                   const Target& target);
  [[nodiscard]] Outcome password(const Request& request, const DocumentPtr& document) const;
  [[nodiscard]] boost::asio::awaitable<Response> store_password(const Request& request,
                                                                DocumentPtr document);
  [[nodiscard]] Response vendor_data(const Request& request, const Instance& instance) const;
  [[nodiscard]] Outcome vendor_data2(const Request& request, const DocumentPtr& document);
  [[nodiscard]] std::string merged_vendor_data2(const Json& dynamic) const;
  [[nodiscard]] std::shared_ptr<const std::string> openstack_listing() const;
  Response counted(Response response);

  ApiOptions options_;
  ApiHooks hooks_;
  InventoryIndex index_;
  ProviderIndex providers_;
  StaticVendordata static_vendordata_;
  std::unique_ptr<DynamicVendordata> dynamic_vendordata_;  ///< null: no such provider
  LayoutCache layouts_;
  StringPool pool_;
  Registry registry_;
  std::unique_ptr<Published<AddressTable>> addresses_;  ///< direct mode only
  std::shared_ptr<const std::string> ec2_listing_, openstack_listing_;
  std::chrono::sys_days newest_version_day_;
  ApiCounts<Counter> counters_;
  log::Limit not_stored_;
};

}  // namespace metatap::api
