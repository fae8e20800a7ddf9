// SPDX-License-Identifier: Apache-2.0
// What reaches the API from a guest (path, method, Accept, password) and from an operator or a
// neighbour (vendordata, network cache): never a crash, and paths are read the same way twice.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "api/json.hpp"
#include "api/network_model.hpp"
#include "base/path.hpp"
#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "base/text.hpp"
#include "unit/waiting.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header

constexpr std::string_view kSecret = "fuzz";

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

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

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto line = bytes.find('\n');
  const auto target = bytes.substr(0, line);
  const auto rest = line == std::string_view::npos ? std::string_view() : bytes.substr(line + 1);

  const std::string path = canonical_path(target);
  require(path.front() == '/' && path.find("//") == std::string::npos);
  require(path == "/" || path.back() != '/');
  require((path + "/").find("/../") == std::string::npos);
  require(path.size() <= target.size() + 1);
  ask(target, rest);

  if (const auto json = api::Json::parse(bytes)) {
    const std::string once = json->dump();
    const auto again = api::Json::parse(once);
    require(again.has_value());
    require(again->dump() == once);
  }
  if (const auto model = api::network_model_from_json(bytes)) {
    require(api::Json::parse(api::network_data_json(*model)).has_value());
    static_cast<void>(api::injected_interfaces(*model));
    static_cast<void>(api::first_ipv4(*model));
  }
  static_cast<void>(base64_decoded(bytes));
  require(base64_decoded(base64_encoded(bytes)) == bytes);
  return 0;
}
