// SPDX-License-Identifier: Apache-2.0
#include "proxy/rebuilt_request.hpp"

#include <algorithm>
#include <span>

namespace metatap::proxy {
namespace {

/// Neutron's agent reads so much and decodes it as UTF-8: what would not do is left out.
bool fits_neutrons_agent(const Request& request, std::string_view accept) {
  constexpr std::size_t kTheRest = 512;  // method, version and the headers of ours
  return is_printable(accept) &&
         request.target.size() + request.body.size() + accept.size() + kTheRest <= kNeutronReads;
}

}  // namespace

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7f; });
}

RebuiltRequest::RebuiltRequest(const Caller& caller, const ProxyOptions& options,
                               const PortTagKey* key)
    : neutron_agent_(options.neutron_agent) {
  const Origin& origin = *caller.origin;
  add("Host", "169.254.169.254");
  add("X-Forwarded-For", caller.address);
  if (origin.path == Path::router) {
    add("X-Neutron-Router-ID", origin.router_id);
  } else {
    add("X-Neutron-Network-ID", origin.network_id);
  }
  if (!origin.port_id.empty() && !neutron_agent_) {
    add(kPortIdHeader, origin.port_id);
    if (key != nullptr) {
      sign(caller, *key);
    }
  }
}

/// What is signed is the connection's, so that its requests cost no signature.
void RebuiltRequest::sign(const Caller& caller, const PortTagKey& key) {
  const Origin& origin = *caller.origin;
  const bool router = origin.path == Path::router;
  signature_ = key.sign({.port_id = origin.port_id,
                         .network_id = router ? "" : origin.network_id,
                         .router_id = router ? origin.router_id : "",
                         .address = caller.address});
  add(kPortSignatureHeader, {signature_.data(), signature_.size()});
}

const Request& RebuiltRequest::of(const Request& guests, std::optional<std::string_view> accept) {
  std::size_t count = count_;
  // It says in which form errors are answered.
  if (accept && (!neutron_agent_ || fits_neutrons_agent(guests, *accept))) {
    headers_[count++] = {"Accept", *accept};
  }
  request_.method = guests.method;
  request_.target = guests.target;
  request_.headers = std::span(headers_).first(count);
  request_.body = guests.body;
  request_.peer = &kOurselves;
  return request_;
}

}  // namespace metatap::proxy
