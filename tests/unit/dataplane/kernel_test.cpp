// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel.hpp"

#include <gmock/gmock.h>

namespace metatap::dataplane {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto kEnd =
    "; __u8 state = tcp->source;\n"
    "812: (69) r1 = *(u16 *)(r7 +0)\n"
    "invalid read from stack R7 off -40+0 size 2\n"
    "processed 9120 insns (limit 1000000) max_states_per_insn 4 total_states 210\n"
    "-- END PROG LOAD LOG --\n"
    "libbpf: prog 'mt_tap': failed to load: -13\n";

std::string log_of(std::size_t lines) {
  std::string log = "libbpf: prog 'mt_tap': -- BEGIN PROG LOAD LOG --\n";
  for (std::size_t line = 0; line < lines; ++line) {
    log += std::to_string(line) + ": (b7) r0 = 0\n";
  }
  return log + kEnd;
}

TEST(VerifiersReason, IsTheLastWordBeforeTheStatistics) {
  EXPECT_EQ(verifiers_reason(log_of(3)), "invalid read from stack R7 off -40+0 size 2");
}

TEST(VerifiersReason, IsFoundAtTheEndOfMegabytes) {
  EXPECT_EQ(verifiers_reason(log_of(200'000)), "invalid read from stack R7 off -40+0 size 2");
}

TEST(VerifiersReason, IsOfTheLastProgram) {
  EXPECT_EQ(
      verifiers_reason("-- BEGIN PROG LOAD LOG --\nold\n-- END PROG LOAD LOG --\n" + log_of(1)),
      "invalid read from stack R7 off -40+0 size 2");
}

TEST(VerifiersReason, NeedsNoStatistics) {
  EXPECT_EQ(
      verifiers_reason("-- BEGIN PROG LOAD LOG --\nunknown opcode db\n-- END PROG LOAD LOG --\n"),
      "unknown opcode db");
  EXPECT_EQ(verifiers_reason("-- BEGIN PROG LOAD LOG --\ncut off here"), "cut off here");
}

TEST(VerifiersReason, IsEmptyWithoutALog) {
  EXPECT_EQ(verifiers_reason(""), "");
  EXPECT_EQ(verifiers_reason("libbpf: failed to open object file\n"), "");
}

TEST(Kernel, HasAName) {
  EXPECT_THAT(kernel_name(), AllOf(HasSubstr("Linux "), HasSubstr(".")));
}

}  // namespace
}  // namespace metatap::dataplane
