// SPDX-License-Identifier: Apache-2.0
// What reaches the API from a guest (path, method, Accept, password): one of the answers there are.
#include <array>
#include <memory>
#include <string_view>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "fuzz/fuzz.hpp"
#include "unit/waiting.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header
using fuzz::require;

constexpr std::string_view kSecret = "fuzz";

api::ApiStage& stage() {
  static const auto made = [] {
    auto inventory = std::make_shared<Inventory>();
    auto instance = std::make_shared<Instance>();
    instance->uuid = "u";
    instance->project_id = "p";
    instance->key_name = "k";
    instance->user_data = "";
    inventory->instances["u"] = instance;
    api::ApiOptions options;
    options.metadata_proxy_shared_secret = kSecret;
    return std::move(*api::ApiStage::create(options, inventory));
  }();
  return *made;
}

void ask(std::string_view target, std::string_view rest) {
  static const Signature signature = sign(kSecret, "u");
  const std::string_view method = rest.substr(0, rest.find('\n'));
  const std::array headers{Header{"X-Instance-ID", "u"}, Header{"X-Tenant-ID", "p"},
                           Header{"X-Instance-ID-Signature", {signature.data(), signature.size()}},
                           Header{"Accept", rest}};
  const Peer peer;
  Request request;
  request.method = method;
  request.target = target;
  request.headers = headers;
  request.body = rest;
  request.peer = &peer;
  const auto response = ask_at_once(stage(), request);
  if (!response) {
    require(method == "POST" && !rest.empty());
    return;
  }
  require(response->status == 200 || response->status == 400 || response->status == 404);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = fuzz::as_text(data, size);
  const auto line = bytes.find('\n');
  ask(bytes.substr(0, line),
      line == std::string_view::npos ? std::string_view() : bytes.substr(line + 1));
  return 0;
}
