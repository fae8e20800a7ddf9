// SPDX-License-Identifier: Apache-2.0
// What a document leaves out is completed, or the document refused: for each member of Nova's own
// two instances, every answer of the one that lacks it, none of which may be Python's word for
// nothing.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "inventory/document.hpp"
#include "inventory/step.hpp"
#include "unit/waiting.hpp"

namespace metatap::api {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSecret = "secret";

Json sample() {
  std::ifstream in(METATAP_TEST_DATA "/nova-sample/inventory.json");
  std::ostringstream text;
  text << in.rdbuf();
  return Json::parse(text.str());
}

/// As the daemon serves it: read, completed and stored. Nothing: it was refused.
std::shared_ptr<const Inventory> stored(const Json& document) {
  const auto read = parse_document(document.dump());
  if (!read) {
    EXPECT_EQ(read.error().message.substr(0, 1), "/") << read.error().message;
    return nullptr;
  }
  const auto step = step_replace(std::make_shared<const Inventory>(), Ec2Ledger(), *read);
  EXPECT_TRUE(step) << step.error().message;
  return step ? step->change.after : nullptr;
}

/// What Nova itself answers with None (contract 1.5): no image, a volume that has no name yet.
bool is_novas(const std::string& path, const Instance& instance) {
  static const std::regex kVolume(".*/block-device-mapping/ebs[0-9]+");
  return (path.ends_with("/ami-id") && !instance.image_ref) || std::regex_match(path, kVolume);
}

/// `part`: only of paths that contain it.
void expect_no_none(const std::shared_ptr<const Inventory>& inventory, const std::string& what,
                    std::string_view part = "") {
  ApiOptions options;
  options.metadata_proxy_shared_secret = kSecret;
  const auto stage = ApiStage::create(options, inventory);
  ASSERT_TRUE(stage);
  static const std::regex kNone("(^|[^A-Za-z])None($|[^A-Za-z])");
  for (const auto& [uuid, instance] : inventory->instances) {
    const auto signature = sign(kSecret, uuid);
    const std::array headers{
        Header{"X-Instance-ID", uuid}, Header{"X-Tenant-ID", instance->project_id},
        Header{"X-Instance-ID-Signature", std::string_view(signature.data(), signature.size())},
        Header{"X-Forwarded-For", "10.70.0.11"}};
    const Peer peer;
    for (const auto& path : (*stage)->document(uuid)->layout().all_paths()) {
      if (path.find(part) == std::string::npos) {
        continue;
      }
      const auto answer =
          ask(static_cast<Handler&>(**stage),
              {.method = "GET", .target = path, .headers = headers, .body = "", .peer = &peer});
      const auto body = answer.body.str();
      EXPECT_EQ(answer.status, 200U) << what << ": " << path;
      if (!is_novas(path, *instance)) {
        EXPECT_FALSE(body.find("None") != body.npos && std::regex_search(body, kNone))
            << what << ": " << path << ": " << body;
      }
    }
  }
}

/// Every member below `value`, as a JSON pointer.
void members_of(const Json& value, const std::string& at, std::vector<std::string>& all) {
  if (!value.is_structured()) {
    return;
  }
  for (const auto& [key, member] : value.items()) {
    std::string name = key;
    for (std::size_t i = 0; (i = name.find_first_of("~/", i)) != std::string::npos; i += 2) {
      name.replace(i, 1, name[i] == '~' ? "~0" : "~1");
    }
    const std::string pointer = at + "/" + name;
    all.push_back(pointer);
    members_of(member, pointer, all);
  }
}

struct Looked {
  int served = 0, refused = 0;
};

/// Every document that lacks one member of the objects in that table, or has null there.
Looked look_at(const Json& whole, const char* table, std::string_view part = "") {
  std::vector<std::string> pointers;
  for (std::size_t i = 0; i < whole[table].size(); ++i) {
    members_of(whole[table][i], "/" + std::string(table) + "/" + std::to_string(i), pointers);
  }
  Looked looked;
  for (const auto& pointer : pointers) {
    for (const bool left_out : {false, true}) {
      Json document = whole;
      const Json::json_pointer at(pointer);
      Json& parent = document[at.parent_pointer()];
      if (!left_out) {
        document[at] = nullptr;
      } else if (parent.is_object()) {
        parent.erase(at.back());
      } else {
        continue;
      }
      if (const auto inventory = stored(document)) {
        ++looked.served;
        expect_no_none(inventory, pointer, part);
      } else {
        ++looked.refused;
      }
    }
  }
  std::cout << table << ": " << looked.served << " documents served, " << looked.refused
            << " refused\n";
  return looked;
}

TEST(Absent, IsCompletedOrRefusedButNeverSaidToBeNone) {
  const auto looked = look_at(sample(), "instances");
  EXPECT_GT(looked.served, 100);
  EXPECT_GT(looked.refused, 50);
}

/// Without Nova's network cache a guest is told of its network by ports, subnets and networks.
TEST(Absent, SoIsWhatANetworkIsDerivedFrom) {
  Json document = sample();
  for (auto& instance : document["instances"]) {
    instance.erase("network_info");
  }
  for (const auto* table : {"networks", "subnets", "ports"}) {
    const auto looked = look_at(document, table, "/latest/");  // all versions tell the same of it
    EXPECT_GT(looked.served, 3) << table;
    EXPECT_GT(looked.refused, 1) << table;
  }
}

TEST(Absent, TheLeastThatCanBeWrittenIsAWholeInstance) {
  const auto inventory = stored(Json::parse(
      R"({"format": "metatap-inventory/1", "instances": [{"uuid": "u", "image_ref": "image"}]})"));
  ASSERT_TRUE(inventory);
  expect_no_none(inventory, "the least");
  const Instance& instance = *inventory->instances.at("u");
  EXPECT_EQ(instance.hostname, "Server-u");
  EXPECT_EQ(instance.display_name, "Server-u");
  EXPECT_EQ(instance.availability_zone, "nova");
  EXPECT_EQ(instance.flavor_name, "custom");
}

}  // namespace
}  // namespace metatap::api
