// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "unit/waiting.hpp"

namespace metatap::api {

inline constexpr std::string_view kSecret = "correct horse";
inline constexpr const char* kUuid = "5f4b1a6e-0001-4c5b-9d3e-000000000001";

/// An instance with something in every field that is shown.
inline Instance sample_instance() {
  Instance i;
  i.uuid = kUuid;
  i.project_id = "project-a";
  i.hostname = "web-1";
  i.display_name = "Web 1";
  i.launch_index = 0;
  i.availability_zone = "nova";
  i.reservation_id = "r-12345678";
  i.image_ref = "image";
  i.ec2_ids = {"i-00000001", "ami-00000001", std::nullopt, std::nullopt};
  i.flavor_name = "m1.small";
  i.key_name = "alice";
  i.key_data = "ssh-ed25519 AAAA alice\n";
  i.keypairs = {{"alice", "ssh", "ssh-ed25519 AAAA alice\n"}};
  i.user_data = "I2Nsb3VkLWNvbmZpZwo=";  // #cloud-config\n
  i.root_device_name = "/dev/vda";
  i.security_groups = {"default"};
  return i;
}

inline Inventory inventory_of(std::vector<Instance> instances) {
  Inventory inventory;
  inventory.revision = 1;
  for (Instance& instance : instances) {
    auto id = instance.uuid;
    inventory.instances[id] = std::make_shared<const Instance>(std::move(instance));
  }
  return inventory;
}

/// A port of an instance on network "net", subnet "sub".
inline Port sample_port(std::string id, std::string instance, std::string address) {
  Port port;
  port.id = std::move(id);
  port.network_id = "net";
  port.mac_address = "fa:16:3e:00:00:01";
  port.device_id = std::move(instance);
  port.device_owner = "compute:nova";
  port.fixed_ips = {{"sub", std::move(address)}};
  return port;
}

inline void add_network(Inventory& inventory) {
  Network network;
  network.id = "net";
  network.mtu = 1450;
  inventory.networks["net"] = std::make_shared<const Network>(network);
  Subnet subnet;
  subnet.id = "sub";
  subnet.network_id = "net";
  subnet.cidr = "10.0.0.0/24";
  subnet.gateway_ip = "10.0.0.1";
  subnet.dns_nameservers = {"10.0.0.2"};
  inventory.subnets["sub"] = std::make_shared<const Subnet>(subnet);
}

inline void add_port(Inventory& inventory, const Port& port) {
  inventory.ports[port.id] = std::make_shared<const Port>(port);
}

inline ApiOptions sample_options() {
  ApiOptions options;
  options.metadata_proxy_shared_secret = kSecret;
  return options;
}

/// A request with owned headers, signed for an instance unless they are taken away.
struct Call {
  std::string method = "GET", target = "/", body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string address;

  static Call signed_for(std::string target, const std::string& uuid = kUuid,
                         const std::string& project = "project-a") {
    Call call;
    call.target = std::move(target);
    const Signature signature = sign(kSecret, uuid);
    call.headers = {{"X-Instance-ID", uuid},
                    {"X-Tenant-ID", project},
                    {"X-Instance-ID-Signature", std::string(signature.data(), signature.size())},
                    {"X-Forwarded-For", "10.0.0.5"}};
    return call;
  }
  Call& with(std::string name, std::string value) {
    headers.emplace_back(std::move(name), std::move(value));
    return *this;
  }
  Call& without(std::string_view name) {
    std::erase_if(headers, [&](const auto& h) { return h.first == name; });
    return *this;
  }
  Call& by(std::string verb, std::string content = {}) {
    method = std::move(verb);
    body = std::move(content);
    return *this;
  }

  /// Calls `use` with the request; it is valid for so long.
  template <class Use>
  auto as_request(Use use) const {
    std::vector<Header> views;
    for (const auto& [name, value] : headers) {
      views.push_back({name, value});
    }
    Peer peer;
    peer.address = address;
    Request request;
    request.method = method;
    request.target = target;
    request.headers = views;
    request.body = body;
    request.peer = &peer;
    return use(request);
  }
  [[nodiscard]] Response answer(ApiStage& stage) const {
    return as_request([&](const Request& request) {
      auto response = ask_at_once(stage, request);
      EXPECT_TRUE(response) << method << " " << target << " is not answered at once";
      return response ? std::move(*response) : Response{};
    });
  }
};

/// The answer, waiting where it has to.
inline Response ask(ApiStage& stage, const Call& call) {
  return call.as_request(
      [&](const Request& request) { return metatap::ask(static_cast<Handler&>(stage), request); });
}

inline std::unique_ptr<ApiStage> stage_of(Inventory inventory,
                                          ApiOptions options = sample_options(),
                                          ApiHooks hooks = {}) {
  auto stage =
      ApiStage::create(std::move(options), std::make_shared<const Inventory>(std::move(inventory)),
                       std::move(hooks));
  EXPECT_TRUE(stage) << stage.error().message;
  return stage ? std::move(*stage) : nullptr;
}

inline std::string body_of(ApiStage& stage, const std::string& path) {
  const Response response = Call::signed_for(path).answer(stage);
  EXPECT_EQ(response.status, 200U) << path;
  return response.body.str();
}

inline unsigned status_of(ApiStage& stage, const std::string& path) {
  return Call::signed_for(path).answer(stage).status;
}

}  // namespace metatap::api
