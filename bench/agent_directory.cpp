// SPDX-License-Identifier: Apache-2.0
// What the agent's directory costs with ten thousand ports: to build, to keep in memory, to change
// (from a row to the first answer), and to ask by port tag, by address and by router.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <memory>
#include <string>

#include "agent/inventory_directory.hpp"
#include "agent/signer.hpp"

namespace {

using namespace metatap;

std::string id(const char* kind, int number) {
  char text[40];
  std::snprintf(text, sizeof text, "%s-0000-4000-8000-%012d", kind, number);
  return text;
}

std::string address(int number) {
  return "10." + std::to_string(number / 65536) + "." + std::to_string(number / 256 % 256) + "." +
         std::to_string(number % 256);
}

std::shared_ptr<const Port> port(int number) {
  auto made = std::make_shared<Port>();
  made->id = id("70000000", number);
  made->network_id = id("90000000", number / 100);
  made->device_id = id("a0000000", number);
  made->project_id = id("b0000000", number / 100);
  char mac[18];
  std::snprintf(mac, sizeof mac, "fa:16:3e:%02x:%02x:%02x", number >> 16 & 255, number >> 8 & 255,
                number & 255);
  made->mac_address = mac;
  made->fixed_ips = {{"s", address(number)}};
  return made;
}

std::shared_ptr<const Inventory> inventory(int ports) {
  auto made = std::make_shared<Inventory>();
  for (int number = 0; number < ports; ++number) {
    auto one = port(number);
    made->ports[one->id] = one;
  }
  // A router into the first network.
  auto interface = std::make_shared<Port>(*port(ports));
  interface->network_id = id("90000000", 0);
  interface->device_id = "router";
  interface->device_owner = "network:router_interface";
  made->ports[interface->id] = std::move(interface);
  return made;
}

void build(benchmark::State& state) {
  const auto all = inventory(static_cast<int>(state.range(0)));
  const auto before = mallinfo2().uordblks;
  auto kept = std::make_unique<agent::InventoryDirectory>(*all);
  state.counters["bytes/port"] =
      static_cast<double>(mallinfo2().uordblks - before) / static_cast<double>(state.range(0));
  for (auto _ : state) {
    const agent::InventoryDirectory directory(*all);
    benchmark::DoNotOptimize(directory.ports());
  }
}
BENCHMARK(build)->Arg(100)->Arg(10'000)->Unit(benchmark::kMillisecond);

/// A port comes, is asked for, and goes: two changes and a lookup.
void row_to_answer(benchmark::State& state) {
  const int ports = static_cast<int>(state.range(0));
  const auto without = inventory(ports);
  auto with = std::make_shared<Inventory>(*without);
  const auto fresh = port(ports + 1);
  with->ports[fresh->id] = fresh;
  agent::InventoryDirectory directory(*without);
  const InventoryChange come{.before = without, .after = with, .ports = {fresh->id}};
  const InventoryChange go{.before = with, .after = without, .ports = {fresh->id}};
  for (auto _ : state) {
    directory.apply(come);
    if (!directory.known({.port_id = fresh->id})) {
      state.SkipWithError("the port that came is not known");
    }
    directory.apply(go);
  }
}
BENCHMARK(row_to_answer)->Arg(100)->Arg(10'000)->Unit(benchmark::kMicrosecond);

template <class Ask>
void lookups(benchmark::State& state, Ask ask) {
  const int ports = static_cast<int>(state.range(0));
  static const agent::InventoryDirectory directory(*inventory(10'000));
  int number = 0;
  for (auto _ : state) {
    number = (number + 4099) % ports;
    ask(state, directory, number);
  }
}

void expect(benchmark::State& state, const Result<Identity>& found) {
  if (!found) {
    state.SkipWithError("a port is not known");
  }
}

void by_tag(benchmark::State& state) {
  std::vector<std::string> ids;
  for (int number = 0; number < 10'000; ++number) {
    ids.push_back(id("70000000", number));
  }
  lookups(state, [&](auto& s, const auto& directory, int n) {
    expect(s, directory.known({.port_id = ids[static_cast<std::size_t>(n)]}));
  });
}
BENCHMARK(by_tag)->Arg(10'000)->ThreadRange(1, 2);

void by_address(benchmark::State& state) {
  std::vector<std::pair<std::string, std::string>> places;
  for (int number = 0; number < 10'000; ++number) {
    places.emplace_back(id("90000000", number / 100), address(number));
  }
  lookups(state, [&](auto& s, const auto& directory, int n) {
    const auto& [network, ip] = places[static_cast<std::size_t>(n)];
    expect(s, directory.known({.network_id = network, .address = ip}));
  });
}
BENCHMARK(by_address)->Arg(10'000)->ThreadRange(1, 2);

void by_router(benchmark::State& state) {
  std::vector<std::string> addresses;
  for (int number = 0; number < 100; ++number) {
    addresses.push_back(address(number));
  }
  lookups(state, [&](auto& s, const auto& directory, int n) {
    expect(s, directory.known(
                  {.router_id = "router", .address = addresses[static_cast<std::size_t>(n)]}));
  });
}
BENCHMARK(by_router)->Arg(100);

void signature(benchmark::State& state) {
  const auto signer = agent::Signer::with("secret").value();
  const auto instance = id("a0000000", 1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(signer.sign(instance));
  }
}
BENCHMARK(signature);

}  // namespace

BENCHMARK_MAIN();
