// SPDX-License-Identifier: Apache-2.0
#include "apps/config_drive_action.hpp"

#include <utility>

#include "admin/inventory_actions.hpp"
#include "api/config_drive.hpp"
#include "base/text.hpp"

namespace metatap::apps {
namespace {

Result<api::DriveExtras> extras_of(const std::string& body) {
  api::DriveExtras extras;
  if (body.empty()) {
    return extras;
  }
  const auto json = admin::Json::parse(body, nullptr, false);
  if (!json.is_object()) {
    return fail(ErrorCode::invalid, "expected a JSON object");
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "admin_pass" || !value.is_string()) {
      return fail(ErrorCode::invalid, "/" + key + ": only a string \"admin_pass\" is known");
    }
    extras.admin_pass = value.get<std::string>();
  }
  return extras;
}

boost::asio::awaitable<Response> answer(api::ApiStage& stage, InventoryService& inventory,
                                        admin::Call call) {
  const auto instance = admin::find_instance(*inventory.current(), call.parts.at(0));
  if (!instance) {
    co_return admin::error_response(instance.error());
  }
  auto extras = extras_of(call.body);
  if (!extras) {
    co_return admin::error_response(extras.error());
  }
  const auto files = co_await api::make_config_drive(stage, (*instance)->uuid, *std::move(extras));
  if (!files) {
    co_return admin::error_response(files.error());
  }
  admin::Json list = admin::Json::array();
  for (const auto& file : *files) {
    list.push_back({{"path", file.path}, {"contents", base64_encoded(file.contents)}});
  }
  co_return admin::json_response({{"label", api::kDriveLabel}, {"files", std::move(list)}});
}

}  // namespace

void register_config_drive(admin::Registry& registry, api::ApiStage& stage,
                           InventoryService& inventory) {
  registry.add_action(
      "POST", "/v1/instances/{}/config-drive",
      [&stage, &inventory](admin::Call call) { return answer(stage, inventory, std::move(call)); });
}

}  // namespace metatap::apps
