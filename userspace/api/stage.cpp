// SPDX-License-Identifier: Apache-2.0
#include "api/stage.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <charconv>
#include <thread>

#include "api/auth_headers.hpp"
#include "api/errors.hpp"
#include "base/ascii.hpp"
#include "base/log.hpp"
#include "base/path.hpp"
#include "base/random_seed.hpp"
#include "base/shared_secret.hpp"
#include "base/text.hpp"
#include "http/coroutine.hpp"
#include "metatap/address.hpp"

namespace metatap::api {
namespace {

using Kind = Target::Kind;

constexpr std::size_t kMaxPassword = 1020;

/// An address in its one canonical spelling, IPv4-mapped ones as IPv4; empty for what is none.
std::string canonical_address(std::string_view text) {
  const auto address = Address::parse(text);
  return address ? address->unmapped().text() : std::string();
}

std::chrono::sys_days day_of(std::string_view version) {
  int year = 0;
  unsigned month = 0, day = 0;
  std::from_chars(version.data(), version.data() + 4, year);
  std::from_chars(version.data() + 5, version.data() + 7, month);
  std::from_chars(version.data() + 8, version.data() + 10, day);
  return std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
}

/// 200 with a body, or for HEAD its length alone.
Response success(const Request& request, std::string_view content_type, Body body) {
  Response response;
  response.content_type = content_type;
  if (request.method == "HEAD") {
    response.content_length = body.size();
  } else {
    response.body = std::move(body);
  }
  return response;
}

/// A string inside a document, kept alive by it: no copy, no allocation.
Body body_in(const std::shared_ptr<const Document>& document, const std::string& text) {
  return Body(std::shared_ptr<const std::string>(document, &text));
}

Status check(const ApiOptions& options) {
  const auto fault = fault_of_secret(options.metadata_proxy_shared_secret);
  if (options.service_metadata_proxy && !fault.empty()) {
    return fail(ErrorCode::invalid, "[neutron] metadata_proxy_shared_secret " + std::string(fault));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ApiStage>> ApiStage::create(ApiOptions options,
                                                   std::shared_ptr<const Inventory> inventory,
                                                   ApiHooks hooks) {
  if (const Status ok = check(options); !ok) {
    return tl::make_unexpected(ok.error());
  }
  std::unique_ptr<DynamicVendordata> dynamic;
  if (options.dynamic_vendordata()) {
    auto made = DynamicVendordata::create(options);
    if (!made) {
      return tl::make_unexpected(std::move(made).error());
    }
    dynamic = std::move(*made);
  }
  return std::unique_ptr<ApiStage>(
      new ApiStage(std::move(options), std::move(hooks), std::move(dynamic), std::move(inventory)));
}

ApiStage::ApiStage(ApiOptions options, ApiHooks hooks, std::unique_ptr<DynamicVendordata> dynamic,
                   std::shared_ptr<const Inventory> inventory)
    : options_(std::move(options)),
      hooks_(std::move(hooks)),
      index_(std::move(inventory)),
      providers_(index_.inventory()),
      static_vendordata_(options_.static_vendordata() ? options_.vendordata_jsonfile_path : ""),
      dynamic_vendordata_(std::move(dynamic)),
      layouts_(options_.openstack_versions()),
      newest_version_day_(day_of(kOpenstackVersions[options_.openstack_versions() - 1])) {
  std::string listing;
  for (const std::string_view version : kEc2Versions) {
    listing.append(version).append("\n");
  }
  ec2_listing_ = std::make_shared<const std::string>(listing + "latest");
  listing.clear();
  for (std::size_t i = 0; i < options_.openstack_versions(); ++i) {
    listing.append(kOpenstackVersions[i]).append("\n");
  }
  openstack_listing_ = std::make_shared<const std::string>(listing + "latest");
  std::vector<std::shared_ptr<const Instance>> instances;
  instances.reserve(index_.inventory().instances.size());
  for (const auto& [id, instance] : index_.inventory().instances) {
    instances.push_back(instance);
  }
  registry_.assign(render(instances));
  if (!options_.service_metadata_proxy) {
    index_addresses();
  }
}

std::vector<ApiStage::DocumentPtr> ApiStage::render(
    const std::vector<std::shared_ptr<const Instance>>& instances) {
  const auto began = std::chrono::steady_clock::now();
  std::vector<DocumentPtr> documents(instances.size());
  const auto part = [&](std::size_t first, std::size_t step) {
    for (std::size_t i = first; i < instances.size(); i += step) {
      documents[i] = std::make_shared<const Document>(
          describe(*instances[i], index_, options_), instances[i],
          sign(options_.metadata_proxy_shared_secret, instances[i]->uuid), layouts_, pool_);
    }
  };
  // A thread costs more than a few dozen documents.
  const std::size_t threads = std::clamp<std::size_t>(
      instances.size() / 64, 1, std::max(1U, std::thread::hardware_concurrency()));
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < threads; ++i) {
      helpers.emplace_back(part, i, threads);
    }
    part(0, threads);
  }
  counters_.renders.add(instances.size());
  counters_.render_microseconds.add(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                     std::chrono::steady_clock::now() - began)
                                     .count()));
  return documents;
}

void ApiStage::index_addresses() {
  auto table = std::make_shared<AddressTable>();
  for (const auto& [id, port] : index_.inventory().ports) {
    if (port->device_id.empty() || port->device_owner.starts_with("network:")) {
      continue;
    }
    for (const FixedIp& fixed : port->fixed_ips) {
      if (std::string address = canonical_address(fixed.ip_address); !address.empty()) {
        (*table)[std::move(address)].push_back(port->device_id);
      }
    }
  }
  const auto shared =
      std::ranges::find_if(*table, [](const auto& entry) { return entry.second.size() > 1; });
  if (shared != table->end()) {
    log::warn(
        "{} ports have the address {}, and are answered 500: without a metadata proxy ([neutron] "
        "service_metadata_proxy) addresses must not overlap",
        shared->second.size(), shared->first);
  }
  if (addresses_) {
    addresses_->set(std::move(table));
  } else {
    addresses_ = std::make_unique<Published<AddressTable>>(std::move(table));
  }
}

std::set<std::string> ApiStage::apply(const InventoryChange& change) {
  auto touched = index_.follow(change);
  std::vector<std::shared_ptr<const Instance>> changed;
  for (const std::string& id : touched) {
    const auto& instances = index_.inventory().instances;
    if (const auto row = instances.find(id); row != instances.end()) {
      changed.push_back(row->second);
    } else {
      registry_.erase(id);
    }
  }
  for (const DocumentPtr& document : render(changed)) {
    registry_.set(document);
  }
  if (addresses_ && !change.ports.empty()) {
    index_addresses();
  }
  providers_.apply(change);
  return touched;
}

Response ApiStage::counted(Response response) {
  switch (response.status) {
    case 200:
      counters_.ok.add();
      break;
    case 400:
      counters_.bad_request.add();
      break;
    case 403:
      counters_.denied.add();
      break;
    case 404:
      counters_.not_found.add();
      break;
    case 409:
      counters_.conflicts.add();
      break;
    default:
      counters_.errors.add();
  }
  return response;
}

std::optional<Response> ApiStage::handle(const Request& request, boost::asio::io_context& here,
                                         Continuation& then) {
  counters_.requests.add();
  Outcome outcome = route(request);
  if (auto* response = std::get_if<Response>(&outcome)) {
    return counted(std::move(*response));
  }
  http::answer_from(wait_for(request, std::get<Pending>(std::move(outcome))), here, then);
  return std::nullopt;
}

Response ApiStage::rehearse(const Request& request) {
  Outcome outcome = route(request);
  auto* response = std::get_if<Response>(&outcome);
  return response != nullptr ? std::move(*response) : unavailable_response(request);
}

boost::asio::awaitable<Response> ApiStage::wait_for(const Request& request, Pending pending) {
  if (pending.kind == Kind::password) {
    co_return counted(co_await store_password(request, std::move(pending.document)));
  }
  auto body = co_await vendor_data2_of(pending.document->source());
  co_return counted(body ? success(request, kJson, Body(std::move(*body)))
                         : error_response(request, 500, kUnknownErrorMessage));
}

ApiStage::Outcome ApiStage::route(const Request& request) {
  // The root needs no authentication, however it is spelled.
  const auto root = [&] { return success(request, kTextPlain, Body(ec2_listing_)); };
  if (request.target == "/") {
    return root();
  }
  Lookup lookup = options_.service_metadata_proxy ? by_signature(request) : by_address(request);
  if (lookup.refusal) {
    return canonical_path(request.target) == "/" ? root() : std::move(*lookup.refusal);
  }
  const Layout& layout = lookup.document->layout();
  const Target* target = layout.find(request.target);
  if (target == nullptr) {
    const std::string path = canonical_path(request.target);
    if (path == "/") {
      return root();
    }
    target = layout.find(path);
    if (target == nullptr) {
      return error_response(request, 404);
    }
  }
  return serve(request, lookup.document, *target, lookup.caller);
}

ApiStage::Lookup ApiStage::by_signature(const Request& request) const {
  const AuthHeaders headers(request.headers);
  const auto refuse = [&](unsigned status, std::string_view message = {}) {
    return Lookup{nullptr, {}, error_response(request, status, message)};
  };
  if (headers.provider.value && !headers.provider.value->empty()) {
    return by_provider(request, headers);
  }
  if (!headers.instance.value) {
    return refuse(400, "X-Instance-ID header is missing from request.");
  }
  if (!headers.signature.value) {
    return refuse(400, "X-Instance-ID-Signature header is missing from request.");
  }
  if (!headers.tenant.value) {
    return refuse(400, "X-Tenant-ID header is missing from request.");
  }
  if (headers.instance.count > 1) {
    return refuse(400, "Multiple X-Instance-ID headers found within request.");
  }
  if (headers.signature.count > 1) {
    return refuse(400, "Multiple X-Instance-ID-Signature headers found within request.");
  }
  if (headers.tenant.count > 1) {
    return refuse(400, "Multiple X-Tenant-ID headers found within request.");
  }
  Lookup lookup;
  lookup.document = registry_.find(*headers.instance.value);
  // The signature of a known instance is at hand; any other is computed, so that 403 comes before
  // 404 and tells nobody which instances there are.
  const bool valid =
      lookup.document
          ? same_signature(*headers.signature.value, lookup.document->signature())
          : same_signature(*headers.signature.value,
                           sign(options_.metadata_proxy_shared_secret, *headers.instance.value));
  if (!valid) {
    return refuse(403, "Invalid proxy request signature.");
  }
  if (!lookup.document) {
    return {nullptr, {}, no_such_instance(request)};
  }
  if (lookup.document->project_id() != *headers.tenant.value) {
    return refuse(404);
  }
  if (headers.forwarded.value) {
    lookup.caller = *headers.forwarded.value;
  }
  return lookup;
}

Response ApiStage::no_such_instance(const Request& request) const {
  return inventory_known() ? error_response(request, 404) : unavailable_response(request);
}

ApiStage::Lookup ApiStage::by_provider(const Request& request, const AuthHeaders& headers) const {
  const auto refuse = [&](unsigned status, std::string_view message) {
    return Lookup{nullptr, {}, error_response(request, status, message)};
  };
  if (!headers.forwarded.value) {
    return refuse(400, "X-Forwarded-For is missing from request.");
  }
  if (headers.provider.count > 1) {
    return refuse(400, "Multiple X-Metadata-Provider headers found within request.");
  }
  if (headers.provider_signature.count > 1) {
    return refuse(400, "Multiple X-Metadata-Provider-Signature headers found within request.");
  }
  const auto provider = *headers.provider.value;
  if (!same_signature(headers.provider_signature.value.value_or(""),
                      sign(options_.metadata_proxy_shared_secret, provider))) {
    return refuse(403, "Invalid proxy request signature.");
  }
  // The front may have appended itself: the first address is the guest's, as it stands there.
  const auto address = headers.forwarded.value->substr(0, headers.forwarded.value->find(','));
  if (!inventory_known()) {
    return {nullptr, {}, unavailable_response(request)};
  }
  const auto found = providers_.find(provider, address);
  if (!found.provider) {
    return refuse(400, fmt::format("Could not find any subnets for provider {}", provider));
  }
  if (found.owners.size() != 1) {
    return refuse(400,
                  fmt::format("Expected a single port matching provider {} and IP {}. Found {}.",
                              provider, address, found.owners.size()));
  }
  const auto& owner = found.owners.front();
  Lookup lookup{registry_.find(owner.instance_id), std::string(address), {}};
  if (!lookup.document || lookup.document->project_id() != owner.project_id) {
    return refuse(404, {});
  }
  return lookup;
}

ApiStage::Lookup ApiStage::by_address(const Request& request) const {
  const auto refuse = [&](unsigned status, std::string_view message = {}) {
    return Lookup{nullptr, {}, error_response(request, status, message)};
  };
  Lookup lookup;
  const auto address = canonical_address(request.peer->address);
  if (address.empty()) {
    return refuse(500, "The address of the caller is not known.");
  }
  lookup.caller = address;
  const auto table = addresses_->get();
  const auto owners = table->find(address);
  if (owners == table->end()) {
    return {nullptr, {}, no_such_instance(request)};
  }
  if (owners->second.size() > 1) {
    return refuse(500, kUnknownErrorMessage);  // why is in the log: the others are not its affair
  }
  lookup.document = registry_.find(owners->second.front());
  if (!lookup.document) {
    return refuse(404);
  }
  return lookup;
}

ApiStage::Outcome ApiStage::serve(const Request& request, const DocumentPtr& document,
                                  const Target& target, const std::optional<std::string>& caller) {
  const auto type = target.type == Target::Type::json ? kJson : kTextPlain;
  switch (target.kind) {
    case Kind::slot:
      return success(request, type, body_in(document, document->slot(target.slot)));
    case Kind::listing:
      return success(request, type, body_in(document, document->layout().listing(target.slot)));
    case Kind::local_ipv4:
      return success(request, type, Body(caller.value_or("None")));
    case Kind::meta_data:
    case Kind::plain_meta_data:
      return meta_data(request, document, target);
    case Kind::ec2_versions:
      return success(request, type, Body(ec2_listing_));
    case Kind::openstack_versions:
      return success(request, type, Body(openstack_listing()));
    case Kind::password:
      return password(request, document);
    case Kind::vendor_data:
      return vendor_data(request, *document->source());
    case Kind::vendor_data2:
      return vendor_data2(request, document);
  }
  return error_response(request, 404);
}

Response ApiStage::meta_data(const Request& request, const DocumentPtr& document,
                             const Target& target) {
  const std::string& tail = document->slot(target.tail);
  const std::string& head = document->slot(target.slot);
  std::string insertion;
  if (target.kind == Kind::meta_data) {
    insertion.reserve(kBeforeSeed.size() + kSeedText + tail.size());
    insertion.append(kBeforeSeed);
    append_random_seed(insertion);
    counters_.seeds.add();
  }
  insertion.append(tail);
  return success(
      request, kJson,
      Body(std::shared_ptr<const std::string>(document, &head), head.size(), std::move(insertion)));
}

ApiStage::Outcome ApiStage::password(const Request& request, const DocumentPtr& document) const {
  if (request.method == "GET") {
    return success(request, kTextHtml, body_in(document, document->password()));
  }
  if (request.method != "POST") {
    return error_response(request, 400, "GET and POST only are supported.");
  }
  if (!document->password().empty()) {
    return error_response(request, 409);
  }
  if (request.body.size() > kMaxPassword) {
    return error_response(request, 400, "Request is too large.");
  }
  if (!is_utf8(request.body)) {
    return error_response(request, 400, "The password is not UTF-8 text.");
  }
  if (request.body.empty()) {
    return success(request, kTextHtml, {});  // as in Nova: nothing given, nothing set
  }
  return Pending{Kind::password, document};
}

boost::asio::awaitable<Response> ApiStage::store_password(const Request& request,
                                                          DocumentPtr document) {
  Status stored = fail(ErrorCode::unsupported, "this process has no store");
  if (hooks_.store_password) {
    stored = co_await hooks_.store_password(document->uuid(), std::string(request.body));
  }
  if (stored) {
    counters_.passwords.add();
    log::info("instance {}: the guest has set its password", document->uuid());
    co_return success(request, kTextHtml, {});
  }
  switch (stored.error().code) {
    case ErrorCode::conflict:
      co_return error_response(request, 409);
    case ErrorCode::not_found:
      co_return error_response(request, 400,
                               fmt::format("Instance {} could not be found.", document->uuid()));
    case ErrorCode::unavailable:
    case ErrorCode::timeout:
      log::warn("instance {}: password not stored: {}", document->uuid(), stored.error().message);
      co_return unavailable_response(request);
    default:
      not_stored_.error("instance {}: password not stored: {}", document->uuid(),
                        stored.error().message);
      co_return error_response(request, 500, kUnknownErrorMessage);
  }
}

Response ApiStage::vendor_data(const Request& request, const Instance& instance) const {
  if (instance.vendor_data) {
    return success(request, kJson, Body(*vendor_data_of(instance)));
  }
  return options_.static_vendordata()
             ? success(request, kJson, Body(static_vendordata_.get()->vendor_data))
             : error_response(request, 404);
}

std::optional<std::string> ApiStage::vendor_data_of(const Instance& instance) const {
  const auto operators = static_vendordata_.get();
  if (!instance.vendor_data) {
    return options_.static_vendordata() ? std::optional(*operators->vendor_data) : std::nullopt;
  }
  Json both = options_.static_vendordata() && operators->value.kind() == Json::Kind::object
                  ? operators->value
                  : Json::object();
  both.set("cloud-init", Json::string(*instance.vendor_data));
  return both.dump();
}

ApiStage::Outcome ApiStage::vendor_data2(const Request& request, const DocumentPtr& document) {
  if (dynamic_vendordata_) {
    if (const auto known = dynamic_vendordata_->known(document->source())) {
      return success(request, kJson, Body(merged_vendor_data2(*known)));
    }
    return Pending{Kind::vendor_data2, document};
  }
  return success(request, kJson,
                 options_.static_vendordata() ? Body(static_vendordata_.get()->vendor_data2)
                                              : Body(std::string("{}")));
}

boost::asio::awaitable<Result<std::string>> ApiStage::vendor_data2_of(
    std::shared_ptr<const Instance> instance) {
  if (!dynamic_vendordata_) {
    co_return merged_vendor_data2(Json::object());
  }
  if (const auto known = dynamic_vendordata_->known(instance)) {
    co_return merged_vendor_data2(*known);
  }
  const auto asked = co_await dynamic_vendordata_->ask(std::move(instance));
  if (!asked) {
    co_return tl::make_unexpected(asked.error());
  }
  co_return merged_vendor_data2(*asked);
}

std::string ApiStage::merged_vendor_data2(const Json& dynamic) const {
  Json merged = Json::object();
  for (const std::string& provider : options_.vendordata_providers) {
    if (provider == "StaticJSON") {
      merged.set("static", static_vendordata_.get()->value);
    } else if (provider == "DynamicJSON") {
      for (const auto& [name, value] : dynamic.members()) {
        if (merged.find(name) == nullptr) {
          merged.set(name, value);
        }
      }
    }
  }
  return merged.dump();
}

std::shared_ptr<const std::string> ApiStage::openstack_listing() const {
  const auto today = options_.today();
  if (newest_version_day_ <= today) {
    return openstack_listing_;
  }
  std::string listing;
  for (std::size_t i = 0; i < options_.openstack_versions(); ++i) {
    if (day_of(kOpenstackVersions[i]) <= today) {
      listing.append(kOpenstackVersions[i]).append("\n");
    }
  }
  return std::make_shared<const std::string>(listing + "latest");
}

ApiStats ApiStage::stats() const {
  ApiStats stats{
      {}, {}, {static_vendordata_.errors(), registry_.size(), layouts_.size(), pool_.size()}};
  stats += counters_;
  if (dynamic_vendordata_) {
    stats += dynamic_vendordata_->counters();
  }
  return stats;
}

}  // namespace metatap::api
