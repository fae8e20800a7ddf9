// SPDX-License-Identifier: Apache-2.0
// The API stage alone, no sockets: what an answer costs, what a start costs, what an instance
// weighs. Instances are like those of a real cloud: a cached network model of Nova's, a key, user
// data that a deployment shares, one or two security groups.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>

#include "api/stage.hpp"
#include "base/hmac.hpp"
#include "base/random_seed.hpp"

namespace {

using namespace metatap;  // NOLINT(google-build-using-namespace): a program, not a header
using api::ApiOptions;
using api::ApiStage;

constexpr std::string_view kSecret = "benchmark";

std::string uuid_of(std::size_t n) {
  return fmt::format("5f4b1a6e-0000-4c5b-9d3e-{:012x}", n);
}

/// One VIF as Nova caches it, about 1.6 KB.
std::string network_info_of(std::size_t n) {
  const std::string port = uuid_of(n);
  const std::string ip = "10." + std::to_string(n / 65536 % 256) + "." +
                         std::to_string(n / 256 % 256) + "." + std::to_string(n % 256);
  return R"([{"id": ")" + port +
         R"(", "address": "fa:16:3e:00:00:11", "network": {"id": "34e1ce8d-d0bf-57f7-90f9-2e65e9551de1",
 "bridge": "br-int", "label": "net-main", "subnets": [{"cidr": "10.0.0.0/8", "dns": [{"address":
 "10.0.0.2", "type": "dns", "version": 4, "meta": {}}, {"address": "10.0.0.3", "type": "dns",
 "version": 4, "meta": {}}], "gateway": {"address": "10.0.0.1", "type": "gateway", "version": 4,
 "meta": {}}, "ips": [{"address": ")" +
         ip +
         R"(", "type": "fixed", "version": 4, "meta": {}, "floating_ips": []}], "routes": [],
 "version": 4, "meta": {"enable_dhcp": true}}], "meta": {"injected": false, "tenant_id":
 "84db5c77d1b755f193cb8f0e36fc6553", "mtu": 1450, "physical_network": null, "tunneled": true}},
 "type": "ovs", "details": {"port_filter": true, "ovs_hybrid_plug": true, "bridge_name": "br-int"},
 "devname": "tap)" +
         port.substr(0, 11) + R"(", "ovs_interfaceid": ")" + port +
         R"(", "qbh_params": null, "qbg_params": null, "active": true, "vnic_type": "normal",
 "profile": {}, "preserve_on_delete": true, "delegate_create": true, "meta": {}}])";
}

std::shared_ptr<const Inventory> inventory_of(std::size_t count) {
  auto inventory = std::make_shared<Inventory>();
  for (std::size_t n = 0; n < count; ++n) {
    auto i = std::make_shared<Instance>();
    i->uuid = uuid_of(n);
    i->project_id = "84db5c77d1b755f193cb8f0e36fc65" + std::to_string(10 + n % 50);
    i->hostname = i->display_name = "server-" + std::to_string(n);
    i->availability_zone = "nova";
    i->reservation_id = "r-" + uuid_of(n).substr(28);
    i->image_ref = "7c06e9e9-7d12-51a8-a9a0-d1eb7e9cee55";
    i->ec2_ids = {"i-" + uuid_of(n).substr(28), "ami-00000001", std::nullopt, std::nullopt};
    i->flavor_name = "m1.small";
    i->key_name = "key";
    i->key_data = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + std::to_string(n % 200) + " user@host";
    i->keypairs = {{"key", "ssh", *i->key_data}};
    i->metadata = {{"role", "web"}, {"group", std::to_string(n % 20)}};
    i->user_data = std::string(2000, 'Q') + std::to_string(1000 + n % 100);
    i->root_device_name = "/dev/vda";
    i->security_groups = {"default"};
    i->network_info = network_info_of(n);
    inventory->instances.emplace(i->uuid, i);
  }
  return inventory;
}

std::unique_ptr<ApiStage> stage_of(std::shared_ptr<const Inventory> inventory) {
  ApiOptions options;
  options.metadata_proxy_shared_secret = kSecret;
  return std::move(*ApiStage::create(options, std::move(inventory)));
}

/// A request as our agent sends it, for one instance.
struct Asker {
  explicit Asker(std::size_t n, std::string_view path) : uuid(uuid_of(n)) {
    project = "84db5c77d1b755f193cb8f0e36fc65" + std::to_string(10 + n % 50);
    signature = sign(kSecret, uuid);
    headers = {Header{"Host", "127.0.0.1:8775"}, Header{"X-Forwarded-For", "10.0.0.5"},
               Header{"X-Instance-ID", uuid}, Header{"X-Tenant-ID", project},
               Header{"X-Instance-ID-Signature", {signature.data(), signature.size()}}};
    peer.in_process = true;
    request.target = path;
    request.headers = headers;
    request.peer = &peer;
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  std::string uuid, project;
  Signature signature;
  std::array<Header, 5> headers;
  Peer peer;
  Request request;
};

/// One stage for all benchmarks of answers; threads share it as workers do.
ApiStage& shared_stage() {
  static const auto stage = stage_of(inventory_of(1000));
  return *stage;
}

/// All is answered at once here.
struct Nobody final : Continuation {
  void answered(Response&&) noexcept override {}
};

void answer(benchmark::State& state, std::string_view path, unsigned status) {
  ApiStage& stage = shared_stage();
  const Asker asker(static_cast<std::size_t>(state.thread_index()) * 7, path);
  Nobody nobody;
  boost::asio::io_context here{1};
  for (auto _ : state) {
    auto response = stage.ask(asker.request, here, nobody);
    if (!response || response->status != status) {
      state.SkipWithError("not the answer it should be");
      break;
    }
    benchmark::DoNotOptimize(response);
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK_CAPTURE(answer, hostname, "/latest/meta-data/hostname", 200)->Threads(1)->Threads(4);
BENCHMARK_CAPTURE(answer, meta_data_json, "/openstack/latest/meta_data.json", 200)
    ->Threads(1)
    ->Threads(4);
BENCHMARK_CAPTURE(answer, openstack, "/openstack", 200);
BENCHMARK_CAPTURE(answer, user_data, "/openstack/2018-08-27/user_data", 200);
BENCHMARK_CAPTURE(answer, odd_spelling, "//latest/./meta-data/%68ostname?x", 200);
BENCHMARK_CAPTURE(answer, not_found, "/2021-03-23/meta-data/instance-id", 404);

void random_seed(benchmark::State& state) {
  std::string text;
  for (auto _ : state) {
    text.clear();
    append_random_seed(text);
    benchmark::DoNotOptimize(text);
  }
}
BENCHMARK(random_seed);

/// From an inventory in memory to the first answer, and what stays allocated for it.
void start(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const auto inventory = inventory_of(count);
  double bytes = 0;
  for (auto _ : state) {
    state.PauseTiming();
    ::malloc_trim(0);
    const auto before = ::mallinfo2();
    state.ResumeTiming();
    auto stage = stage_of(inventory);
    const Asker asker(count - 1, "/openstack");
    Nobody nobody;
    boost::asio::io_context here{1};
    benchmark::DoNotOptimize(stage->ask(asker.request, here, nobody));
    state.PauseTiming();
    const auto after = ::mallinfo2();
    bytes = static_cast<double>(after.uordblks + after.hblkhd) -
            static_cast<double>(before.uordblks + before.hblkhd);
    stage.reset();
    state.ResumeTiming();
  }
  state.counters["MB"] = bytes / 1e6;
  state.counters["bytes_per_instance"] = bytes / static_cast<double>(count);
}
BENCHMARK(start)->Arg(1)->Arg(1000)->Arg(50000)->Unit(benchmark::kMillisecond)->UseRealTime();

/// One instance changed among many.
void change_one(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  auto before = inventory_of(count);
  auto after = std::make_shared<Inventory>(*before);
  auto changed = std::make_shared<Instance>(*before->instances.begin()->second);
  changed->hostname = "renamed";
  after->instances[changed->uuid] = changed;
  const auto stage = stage_of(before);
  InventoryChange change;
  change.before = before;
  change.after = after;
  change.instances = {changed->uuid};
  for (auto _ : state) {
    stage->apply(change);
  }
}
BENCHMARK(change_one)->Arg(1)->Arg(1000)->Arg(50000)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
