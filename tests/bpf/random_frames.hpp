// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <span>
#include <string_view>

#include "bpf/packet.hpp"

namespace metatap::testing {

/// Frames such as a hostile guest would think of: headers that nearly are right, addresses that
/// are another's, lengths that lie, then here and there a few bytes changed, cut off or added. The
/// same seed gives the same frames.
class RandomFrames {
 public:
  explicit RandomFrames(std::uint64_t seed) : random_(seed) {}

  /// What the addresses of a frame are taken from, beside some that nobody has.
  struct Addresses {
    std::span<const std::string_view> macs, v4, v6;
    std::string_view to_v4, to_v6;         ///< where most frames go
    std::span<const std::uint16_t> vlans;  ///< 0: none; none: there are no tags
  };
  /// From those addresses to `to_v4` and `to_v6`.
  [[nodiscard]] Bytes request(const Addresses& world);
  /// The other way: from `to_v4` and `to_v6`, to those addresses.
  [[nodiscard]] Bytes answer(const Addresses& world);

 private:
  struct Ends {
    std::string_view source, destination;
  };
  std::uint32_t below(std::size_t end) { return static_cast<std::uint32_t>(random_() % end); }
  /// True once in so many times.
  bool one_in(unsigned times) { return below(times) == 0; }
  template <class T>
  T any(std::initializer_list<T> all) {
    return all.begin()[below(all.size())];
  }
  std::string_view any(std::span<const std::string_view> all) { return all[below(all.size())]; }
  Bytes any_bytes(std::size_t size);
  std::string_view flags() {
    return any<std::string_view>({"S", "SA", "A", "PA", "FA", "R", "S", ""});
  }
  std::uint16_t port() { return any<std::uint16_t>({80, 80, 80, 443, 4000, 40000}); }

  Packet link(const Addresses& world, bool request);
  void ipv4(Packet& frame, Ends ends);
  void ipv6(Packet& frame, Ends ends);
  void extension_headers(Packet& frame);
  void arp(Packet& frame, const Addresses& world, Ends ends);
  void solicitation(Packet& frame, const Addresses& world, Ends ends);
  void tcp(Packet& frame);
  Bytes quoted(Ends ends);
  Bytes spoilt(Bytes frame);
  Bytes long_enough(Bytes frame);

  std::mt19937_64 random_;
};

}  // namespace metatap::testing
