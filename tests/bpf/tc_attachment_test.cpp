// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tc_attachment.hpp"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>

#include <array>
#include <optional>

#include "private_namespace.hpp"

namespace metatap::dataplane {
namespace {

using testing::unique_name;

UniqueFd load(const char* name) {
  const std::array<bpf_insn, 2> pass = {
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, TC_ACT_UNSPEC},
      bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  return UniqueFd(
      ::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", pass.data(), pass.size(), nullptr));
}

class Attachment : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    if (!kernel_has_tcx()) {
      GTEST_SKIP() << "this kernel has no TCX (6.6)";
    }
    std::filesystem::create_directories(pins_.path());
  }

  testing::TemporaryPins pins_;
  UniqueFd program_ = load("mt_test");
};

/// Namespaces made alike give their devices the same numbers; the old one lives on while a process
/// is in it.
TEST_F(Attachment, APinIsNotInheritedByADeviceOfTheSameNumberInAnotherNamespace) {
  const auto pin = pins_.path() / "qrouter_x_in";
  const std::array names = {unique_name("a"), unique_name("b")};
  unsigned ifindex = 0;
  for (const auto& name : names) {
    const auto space = sys::NetNamespace::create_named(name);
    ASSERT_TRUE(space);
    const auto done = space->run([&]() -> Status {
      auto netlink = sys::Netlink::open();
      if (auto made = netlink->add_veth({"qr", {}}, {"peer", {}}); !made) {
        return made;
      }
      const auto link = netlink->link("qr");
      EXPECT_TRUE(ifindex == 0 || ifindex == link->index);
      ifindex = link->index;
      auto attachment = TcAttachment::attach(program_.get(), ifindex, AttachMode::tcx, pin);
      if (!attachment) {
        return tl::make_unexpected(std::move(attachment.error()));
      }
      attachment->keep();
      const auto programs = tcx_programs(ifindex, TcSide::ingress);
      EXPECT_EQ(programs->size(), 1U) << "attached is what the device says";
      return {};
    });
    EXPECT_TRUE(done) << done.error().message;
  }
  for (const auto& name : names) {
    (void)sys::NetNamespace::delete_named(name);
  }
}

TEST_F(Attachment, TheSameDeviceKeepsItsLink) {
  testing::enter_private_namespace();
  auto netlink = sys::Netlink::open();
  ASSERT_TRUE(netlink->add_veth({"tap0", {}}, {"peer0", {}}));
  const auto ifindex = netlink->link("tap0")->index;
  const auto pin = pins_.path() / "tap";
  std::uint32_t link = 0;
  for (int round = 0; round < 2; ++round) {
    auto attachment = TcAttachment::attach(program_.get(), ifindex, AttachMode::tcx, pin);
    ASSERT_TRUE(attachment) << attachment.error().message;
    const auto programs = tcx_programs(ifindex, TcSide::ingress);
    ASSERT_EQ(programs->size(), 1U);
    EXPECT_TRUE(link == 0 || link == programs->front().link_id);
    link = programs->front().link_id;
    attachment->keep();
  }
  (void)netlink->delete_link(ifindex);
}

TEST_F(Attachment, EgressBesideAnIngressQdiscOfOthersIsRefusedInWords) {
  testing::enter_private_namespace();
  auto netlink = sys::Netlink::open();
  ASSERT_TRUE(netlink->add_veth({"qr0", {}}, {"peer1", {}}));
  const auto ifindex = netlink->link("qr0")->index;
  auto tc = sys::TrafficControl::open();
  ASSERT_TRUE(tc->add_ingress_qdisc(ifindex, "ingress"));
  const auto refused =
      TcAttachment::attach(program_.get(), ifindex, AttachMode::clsact, {}, TcSide::egress);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_EQ(*tc->ingress_qdisc(ifindex), "ingress");
  EXPECT_TRUE(*tc->is_bare(ifindex, "ingress")) << "nothing was put at the wrong side";
  (void)netlink->delete_link(ifindex);
}

}  // namespace
}  // namespace metatap::dataplane
