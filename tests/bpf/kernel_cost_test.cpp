// SPDX-License-Identifier: Apache-2.0
// What the programs cost: instructions the verifier walks, and time on packets that are not ours.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <iostream>
#include <map>
#include <vector>

#include "bpf/packet.hpp"
#include "bpf/private_namespace.hpp"
#include "dataplane/core.hpp"

namespace metatap::dataplane {
namespace {

using testing::Bytes;
using testing::Packet;

class KernelCost : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    testing::enter_private_namespace();
    DataPlaneOptions options;
    options.pin_path = pins_.path();
    options.slots = 64;
    auto core = Core::with_bpf(options);
    ASSERT_TRUE(core) << core.error().message;
    core_ = *core;
  }

  /// Nanoseconds a run, of `repeat` runs.
  static double duration(int program, const Bytes& in, int repeat) {
    Bytes out(in.size() + 256);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in.data(), .data_out = out.data(),
                .data_size_in = static_cast<std::uint32_t>(in.size()),
                .data_size_out = static_cast<std::uint32_t>(out.size()), .repeat = repeat);
    EXPECT_EQ(::bpf_prog_test_run_opts(program, &options), 0);
    return options.duration;
  }

  testing::TemporaryPins pins_;
  std::shared_ptr<Core> core_;
};

TEST_F(KernelCost, TheVerifierStaysWithinItsBudget) {
  std::ifstream file(METATAP_SOURCE_DIR "/tests/bpf/verifier_budget.txt");
  ASSERT_TRUE(file) << "verifier_budget.txt";
  std::map<std::string, std::uint32_t> budget;
  for (std::string name; file >> name;) {
    if (name.starts_with('#')) {
      std::getline(file, name);
      continue;
    }
    file >> budget[name];
  }
  for (const auto& [name, limit] : budget) {
    const int program = core_->programs->program(name);
    ASSERT_GE(program, 0) << "no program " << name;
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    ASSERT_EQ(::bpf_obj_get_info_by_fd(program, &info, &size), 0);
    std::cout << name << ": " << info.verified_insns << " instructions verified, " << limit
              << " allowed\n";
    EXPECT_LE(info.verified_insns, limit) << name;
    EXPECT_GT(info.verified_insns, 0U) << name;
  }
}

TEST_F(KernelCost, PrintsWhatPacketsThatAreNotOursCost) {
  // return TC_ACT_UNSPEC
  const std::array<bpf_insn, 2> nothing = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, -1},
                                           bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd empty(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mt_empty", "GPL", nothing.data(),
                                       nothing.size(), nullptr));
  ASSERT_TRUE(empty);
  const int tap = core_->programs->program("mt_tap");
  const std::map<std::string, Bytes> packets = {
      {"v4", Packet().eth().ipv4("10.0.0.5", "10.0.0.1").tcp(1, 2, "A").bytes()},
      {"v6", Packet().eth().ipv6("fe80::1", "2001:db8::2").tcp(1, 2, "A").bytes()},
      {"vlan", Packet().eth().vlan(7).ipv4("10.0.0.5", "10.0.0.1").tcp(1, 2, "A").bytes()},
  };
  constexpr int kRounds = 7, kRepeat = 300000;
  for (const auto& [name, packet] : packets) {
    std::vector<double> extra;
    for (int round = 0; round < kRounds; ++round) {
      const double base = duration(empty.get(), packet, kRepeat);
      extra.push_back(duration(tap, packet, kRepeat) - base);
    }
    std::ranges::sort(extra);
    const double median = extra[kRounds / 2];
    std::cout << "mt_tap on " << name << " that is not ours: " << median
              << " ns more than an empty program (median of " << kRounds << ", " << extra.front()
              << " to " << extra.back() << ")\n";
    RecordProperty("ns_" + name, std::to_string(median));
  }
}

/// The ABI as the object's BTF has it, against what this compiler made of the same header.
TEST_F(KernelCost, TheAbiHasOneLayoutOnBothSides) {
  const auto btf_of = [&](const char* map) {
    bpf_map_info info{};
    std::uint32_t size = sizeof(info);
    EXPECT_EQ(::bpf_obj_get_info_by_fd(core_->programs->map(map), &info, &size), 0);
    return info;
  };
  const auto info = btf_of("mt_slots");
  btf* types = ::btf__load_from_kernel_by_id(info.btf_id);
  ASSERT_NE(types, nullptr);
  using Offsets = std::map<std::string, std::size_t>;
  const auto offsets_of = [&](const char* name) {
    Offsets found;
    const auto id = ::btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);
    EXPECT_GT(id, 0) << name;
    const btf_type* type = ::btf__type_by_id(types, static_cast<std::uint32_t>(id));
    for (std::uint32_t i = 0; i < btf_vlen(type); ++i) {
      const auto& member = btf_members(type)[i];
      found[::btf__name_by_offset(types, member.name_off)] = btf_member_bit_offset(type, i) / 8;
    }
    found["sizeof"] = type->size;
    return found;
  };
#define METATAP_AT(type, member) {#member, offsetof(type, member)}
  EXPECT_EQ(offsets_of("mt_slot"), (Offsets{METATAP_AT(mt_slot, kind),
                                            METATAP_AT(mt_slot, flags),
                                            METATAP_AT(mt_slot, ifindex),
                                            METATAP_AT(mt_slot, vlan),
                                            METATAP_AT(mt_slot, generation),
                                            {"" /* a union */, offsetof(mt_slot, plug)},
                                            METATAP_AT(mt_slot, mac),
                                            METATAP_AT(mt_slot, syn_rate),
                                            METATAP_AT(mt_slot, first_v4),
                                            METATAP_AT(mt_slot, device),
                                            METATAP_AT(mt_slot, port_id),
                                            METATAP_AT(mt_slot, network_id),
                                            METATAP_AT(mt_slot, router_id),
                                            {"sizeof", sizeof(mt_slot)}}));
  EXPECT_EQ(offsets_of("mt_config"), (Offsets{METATAP_AT(mt_config, abi_version),
                                              METATAP_AT(mt_config, flags),
                                              METATAP_AT(mt_config, veth_ifindex),
                                              METATAP_AT(mt_config, nsid),
                                              METATAP_AT(mt_config, syn_interval_ns),
                                              METATAP_AT(mt_config, syn_burst_ns),
                                              METATAP_AT(mt_config, sample),
                                              METATAP_AT(mt_config, mac),
                                              METATAP_AT(mt_config, pad),
                                              {"sizeof", sizeof(mt_config)}}));
  EXPECT_EQ(offsets_of("mt_counter"), (Offsets{METATAP_AT(mt_counter, packets),
                                               METATAP_AT(mt_counter, bytes),
                                               METATAP_AT(mt_counter, syns),
                                               METATAP_AT(mt_counter, drops),
                                               METATAP_AT(mt_counter, answers),
                                               METATAP_AT(mt_counter, answer_bytes),
                                               METATAP_AT(mt_counter, learned_v4),
                                               METATAP_AT(mt_counter, learned_v6),
                                               METATAP_AT(mt_counter, steered_v4),
                                               METATAP_AT(mt_counter, steered_v6),
                                               METATAP_AT(mt_counter, answered_v4),
                                               METATAP_AT(mt_counter, answered_v6),
                                               {"sizeof", sizeof(mt_counter)}}));
  EXPECT_EQ(offsets_of("mt_port_key"), (Offsets{METATAP_AT(mt_port_key, ifindex),
                                                METATAP_AT(mt_port_key, vlan),
                                                METATAP_AT(mt_port_key, pad),
                                                {"sizeof", sizeof(mt_port_key)}}));
  EXPECT_EQ(offsets_of("mt_slot_reason"), (Offsets{METATAP_AT(mt_slot_reason, slot),
                                                   METATAP_AT(mt_slot_reason, reason),
                                                   {"sizeof", sizeof(mt_slot_reason)}}));
  EXPECT_EQ(offsets_of("mt_source_key"), (Offsets{METATAP_AT(mt_source_key, device_slot),
                                                  METATAP_AT(mt_source_key, family),
                                                  METATAP_AT(mt_source_key, address),
                                                  {"sizeof", sizeof(mt_source_key)}}));
  EXPECT_EQ(offsets_of("mt_address_key"), (Offsets{METATAP_AT(mt_address_key, slot),
                                                   METATAP_AT(mt_address_key, generation),
                                                   METATAP_AT(mt_address_key, family),
                                                   METATAP_AT(mt_address_key, address),
                                                   {"sizeof", sizeof(mt_address_key)}}));
  EXPECT_EQ(offsets_of("mt_address"), (Offsets{METATAP_AT(mt_address, index),
                                               METATAP_AT(mt_address, mac),
                                               METATAP_AT(mt_address, pad),
                                               {"sizeof", sizeof(mt_address)}}));
  EXPECT_EQ(offsets_of("mt_alias_key"), (Offsets{METATAP_AT(mt_alias_key, slot),
                                                 METATAP_AT(mt_alias_key, generation),
                                                 METATAP_AT(mt_alias_key, family),
                                                 METATAP_AT(mt_alias_key, index),
                                                 {"sizeof", sizeof(mt_alias_key)}}));
  EXPECT_EQ(offsets_of("mt_alias"), (Offsets{METATAP_AT(mt_alias, address),
                                             METATAP_AT(mt_alias, mac),
                                             METATAP_AT(mt_alias, pad),
                                             {"sizeof", sizeof(mt_alias)}}));
  EXPECT_EQ(offsets_of("mt_prefix_key"), (Offsets{METATAP_AT(mt_prefix_key, prefixlen),
                                                  METATAP_AT(mt_prefix_key, slot),
                                                  METATAP_AT(mt_prefix_key, generation),
                                                  METATAP_AT(mt_prefix_key, family),
                                                  METATAP_AT(mt_prefix_key, address),
                                                  {"sizeof", sizeof(mt_prefix_key)}}));
#undef METATAP_AT
  ::btf__free(types);
  // Every pinned map has types, so that bpftool can name its fields.
  for (const char* map :
       {"mt_config", "mt_slots", "mt_ports", "mt_addresses", "mt_aliases", "mt_prefixes",
        "mt_sources", "mt_counters", "mt_slot_reasons", "mt_buckets"}) {
    EXPECT_NE(btf_of(map).btf_value_type_id, 0U) << map;
  }
}

}  // namespace
}  // namespace metatap::dataplane
