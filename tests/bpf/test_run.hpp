// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/pkt_cls.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "bpf/packet.hpp"

namespace metatap::testing {

/// What a program made of a frame.
struct Outcome {
  std::string verdict;  ///< as in TC_ACT_…: "UNSPEC", "OK", "SHOT", "REDIRECT", or its number
  Bytes bytes;
  std::uint32_t mark = 0;
  std::uint32_t ns = 0;  ///< how long a run took, on average
};

inline std::string verdict_name(std::uint32_t verdict) {
  switch (static_cast<int>(verdict)) {
    case TC_ACT_UNSPEC:
      return "UNSPEC";
    case TC_ACT_OK:
      return "OK";
    case TC_ACT_SHOT:
      return "SHOT";
    case TC_ACT_REDIRECT:
      return "REDIRECT";
    default:
      return std::to_string(static_cast<int>(verdict));
  }
}

/// Runs a program over a frame that comes in by a device of the thread's namespace
/// (BPF_PROG_TEST_RUN). A frame has at least one byte behind its Ethernet header.
inline Outcome test_run(int program, const Bytes& in, unsigned ifindex, int repeat = 1) {
  Bytes out(in.size() + 256);
  __sk_buff context{}, after{};
  context.ifindex = ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = in.data(), .data_out = out.data(),
              .data_size_in = static_cast<std::uint32_t>(in.size()),
              .data_size_out = static_cast<std::uint32_t>(out.size()), .ctx_in = &context,
              .ctx_out = &after, .ctx_size_in = sizeof(context), .ctx_size_out = sizeof(after),
              .repeat = repeat);
  const int error = ::bpf_prog_test_run_opts(program, &options);
  EXPECT_EQ(error, 0) << std::strerror(-error);
  out.resize(options.data_size_out);
  return {verdict_name(options.retval), std::move(out), after.mark, options.duration};
}

}  // namespace metatap::testing
