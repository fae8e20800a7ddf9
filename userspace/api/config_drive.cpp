// SPDX-License-Identifier: Apache-2.0
#include "api/config_drive.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "api/auth.hpp"
#include "api/random_seed.hpp"
#include "api/stage.hpp"

namespace metatap::api {
namespace {

/// A body as the stage serves it to that instance.
boost::asio::awaitable<Result<std::string>> served(ApiStage& stage, const Document& document,
                                                   std::string_view target) {
  const auto signature =
      sign(stage.options().metadata_proxy_shared_secret, document.instance().uuid);
  const std::array headers{
      Header{"X-Instance-ID", document.uuid()},
      Header{"X-Tenant-ID", document.project_id()},
      Header{"X-Instance-ID-Signature", std::string_view(signature.data(), signature.size())},
  };
  const Peer ourselves{.in_process = true, .uid = {}, .pid = {}, .address = {}};
  Request request;
  request.target = target;
  request.headers = headers;
  request.peer = &ourselves;
  auto response = stage.answer(request);
  if (!response) {
    response = co_await stage.handle(request);
  }
  if (response->status != 200) {
    co_return fail(ErrorCode::unavailable,
                   fmt::format("{} is answered {}", target, response->status));
  }
  co_return response->body.str();
}

}  // namespace

std::vector<DriveFile> config_drive_files(const Metadata& metadata, const ApiOptions& options,
                                          const DriveVendordata& vendordata) {
  std::vector<DriveFile> files;
  const auto skipped = [&](std::string_view version) {
    return std::ranges::find(options.config_drive_skip_versions, version) !=
           options.config_drive_skip_versions.end();
  };
  const auto ec2 = [&](std::string_view name, std::size_t version) {
    if (skipped(name)) {
      return;
    }
    const auto base = fmt::format("ec2/{}/", name);
    if (metadata.user_data) {
      files.push_back({base + "user-data", *metadata.user_data});
    }
    files.push_back({base + "meta-data.json", metadata.ec2_meta_data(version).dump()});
  };
  for (std::size_t version = 0; version < kEc2Versions.size(); ++version) {
    ec2(kEc2Versions[version], version);
  }
  ec2("latest", kEc2Versions.size() - 1);

  const auto openstack = [&](std::string_view name, std::size_t version) {
    const auto base = fmt::format("openstack/{}/", name);
    std::string seed;
    append_random_seed(seed);
    files.push_back({base + "meta_data.json", metadata.meta_data_json(version, seed)});
    if (metadata.user_data) {
      files.push_back({base + "user_data", *metadata.user_data});
    }
    if (version >= since::kVendorData && vendordata.vendor_data) {
      files.push_back({base + "vendor_data.json", *vendordata.vendor_data});
    }
    if (version >= since::kNetworkDataListed) {
      files.push_back({base + "network_data.json", metadata.network_data});
    }
    if (version >= since::kVendorData2 && vendordata.vendor_data2) {
      files.push_back({base + "vendor_data2.json", *vendordata.vendor_data2});
    }
  };
  for (std::size_t version = 0; version < options.openstack_versions(); ++version) {
    openstack(kOpenstackVersions[version], version);
  }
  openstack("latest", options.openstack_versions() - 1);

  for (std::size_t index = 0; index < metadata.content.size(); ++index) {
    files.push_back({fmt::format("openstack/content/{:04}", index), metadata.content[index]});
  }
  return files;
}

boost::asio::awaitable<Result<std::vector<DriveFile>>> make_config_drive(ApiStage& stage,
                                                                         std::string instance_id,
                                                                         DriveExtras extras) {
  const auto document = stage.document(instance_id);
  if (!document) {
    co_return fail(ErrorCode::not_found, "there is no instance " + instance_id);
  }
  DriveVendordata vendordata;
  const auto content = stage.static_vendordata().get();
  if (stage.options().static_vendordata()) {
    vendordata.vendor_data = *content->vendor_data;
    vendordata.vendor_data2 = *content->vendor_data2;
  } else {
    vendordata.vendor_data2 = "{}";
  }
  // Only a signed request can ask for what the targets say of this instance.
  if (stage.options().dynamic_vendordata() && stage.options().service_metadata_proxy) {
    auto asked = co_await served(stage, *document, "/openstack/latest/vendor_data2.json");
    if (!asked) {
      co_return tl::make_unexpected(std::move(asked.error()));
    }
    vendordata.vendor_data2 = *std::move(asked);
  }
  co_return config_drive_files(
      describe(document->instance(), stage.index(), stage.options(), extras), stage.options(),
      vendordata);
}

}  // namespace metatap::api
