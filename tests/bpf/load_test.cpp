// SPDX-License-Identifier: Apache-2.0
// What is said about programs that this kernel does, or does not, take.
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "bpf/private_namespace.hpp"
#include "dataplane/kernel.hpp"

namespace metatap::dataplane {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class Load : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = metatap::testing::missing_privilege(); !why.empty()) {
      GTEST_SKIP() << why;
    }
  }
};

/// What try_load() says on a thread that may load programs (CAP_BPF), but only such as the verifier
/// lets whoever has no CAP_PERFMON load: that verdict is real, and every kernel's.
Status load_without_perfmon() {
  Status loaded;
  std::thread([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    ASSERT_EQ(::syscall(SYS_capget, &header, sets.data()), 0);
    for (const unsigned capability : {CAP_SYS_ADMIN, CAP_PERFMON}) {
      sets[capability / 32].effective &= ~(1U << capability % 32);
    }
    ASSERT_EQ(::syscall(SYS_capset, &header, sets.data()), 0);
    loaded = Programs::try_load();
  }).join();
  return loaded;
}

TEST_F(Load, ThisKernelTakesThem) {
  EXPECT_THAT(missing_in_kernel(), IsEmpty());
  const auto loaded = Programs::try_load();
  EXPECT_TRUE(loaded) << loaded.error().message;
}

TEST_F(Load, ARefusalNamesKernelReasonAndMinimum) {
  const auto loaded = load_without_perfmon();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ErrorCode::unsupported);
  EXPECT_THAT(loaded.error().message,
              AllOf(HasSubstr(kernel_name()), HasSubstr("refuses a BPF program"),
                    HasSubstr("metatap needs Linux 6.1 or newer"), Not(HasSubstr("\n"))));
  RecordProperty("said", loaded.error().message);
}

TEST_F(Load, SaysHowDevicesAreAttachedTo) {
  const auto way = way_to_attach();
  ASSERT_TRUE(way) << way.error().message;
  EXPECT_THAT(*way, AnyOf("TCX", "filters"));
}

}  // namespace
}  // namespace metatap::dataplane
