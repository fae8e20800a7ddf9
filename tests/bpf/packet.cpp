// SPDX-License-Identifier: Apache-2.0
#include "bpf/packet.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace metatap::testing {
namespace {

constexpr std::uint8_t kIcmp = 1, kTcp = 6, kUdp = 17, kFragment = 44, kIcmp6 = 58;

void store16(Bytes& bytes, std::size_t at, std::uint32_t value) {
  bytes.at(at) = static_cast<std::uint8_t>(value >> 8);
  bytes.at(at + 1) = static_cast<std::uint8_t>(value);
}

}  // namespace

Bytes mac_bytes(std::string_view text) {
  Bytes bytes;
  for (std::size_t i = 0; i < 6; ++i) {
    bytes.push_back(
        static_cast<std::uint8_t>(std::stoul(std::string(text.substr(3 * i, 2)), nullptr, 16)));
  }
  return bytes;
}

Bytes ip_bytes(std::string_view text) {
  const std::string copy(text);
  std::array<std::uint8_t, 16> raw{};
  const bool v6 = text.find(':') != std::string_view::npos;
  if (::inet_pton(v6 ? AF_INET6 : AF_INET, copy.c_str(), raw.data()) != 1) {
    throw std::invalid_argument("not an address: " + copy);
  }
  return {raw.begin(), raw.begin() + (v6 ? 16 : 4)};
}

std::uint16_t sum16(const Bytes& bytes, std::uint32_t start) {
  std::uint32_t sum = start;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
  }
  while (sum > 0xffff) {
    sum = (sum >> 16) + (sum & 0xffff);
  }
  return static_cast<std::uint16_t>(sum);
}

std::string to_hex(const Bytes& bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += fmt::format("{}{:02x}", i == 0 ? "" : i % 16 == 0 ? "\n" : " ", bytes[i]);
  }
  return text;
}

void Packet::put16(std::uint16_t value) {
  raw_.push_back(static_cast<std::uint8_t>(value >> 8));
  raw_.push_back(static_cast<std::uint8_t>(value));
}

void Packet::put(const Bytes& bytes) {
  raw_.insert(raw_.end(), bytes.begin(), bytes.end());
}

void Packet::set_type(std::uint16_t type) {
  store16(raw_, type_at_, type);
}

void Packet::set_next(std::uint8_t protocol) {
  if (next_) {
    raw_.at(*next_) = protocol;
  }
}

Packet& Packet::eth(std::string_view source, std::string_view destination) {
  put(mac_bytes(destination));
  put(mac_bytes(source));
  type_at_ = raw_.size();
  put16(0);
  return *this;
}

Packet& Packet::vlan(std::uint16_t vid) {
  set_type(0x8100);
  put16(vid);
  type_at_ = raw_.size();
  put16(0);
  return *this;
}

Packet& Packet::ipv4(std::string_view source, std::string_view destination, const V4& more) {
  set_type(0x0800);
  version_ = 4;
  l3_ = raw_.size();
  next_ = raw_.size() + 9;
  raw_.push_back(static_cast<std::uint8_t>(0x40 | (5 + more.options.size() / 4)));
  raw_.push_back(0);
  put16(0);
  put16(more.id);
  put16(more.fragment);
  raw_.push_back(more.ttl);
  raw_.push_back(0);
  put16(0);
  put(ip_bytes(source));
  put(ip_bytes(destination));
  put(more.options);
  return *this;
}

Packet& Packet::ipv6(std::string_view source, std::string_view destination,
                     std::uint8_t hop_limit) {
  set_type(0x86dd);
  version_ = 6;
  l3_ = raw_.size();
  next_ = raw_.size() + 6;
  put({0x60, 0, 0, 0, 0, 0, 0, hop_limit});
  put(ip_bytes(source));
  put(ip_bytes(destination));
  return *this;
}

Packet& Packet::extension(std::uint8_t type, std::size_t size) {
  set_next(type);
  next_ = raw_.size();
  Bytes header(size, 0);
  header[1] = static_cast<std::uint8_t>(size / 8 - 1);
  header[2] = 1;  // PadN
  header[3] = static_cast<std::uint8_t>(size - 4);
  put(header);
  return *this;
}

Packet& Packet::fragment_header(std::uint16_t offset_and_flags, std::uint32_t id) {
  set_next(kFragment);
  next_ = raw_.size();
  put16(0);
  put16(offset_and_flags);
  put16(static_cast<std::uint16_t>(id >> 16));
  put16(static_cast<std::uint16_t>(id));
  return *this;
}

Packet& Packet::tcp(std::uint16_t source, std::uint16_t destination, std::string_view flags) {
  set_next(kTcp);
  l4_ = raw_.size();
  l4_protocol_ = kTcp;
  std::uint8_t bits = 0;
  for (const char c : flags) {
    bits = static_cast<std::uint8_t>(bits | 1U << std::string_view("FSRPAU").find(c));
  }
  put16(source);
  put16(destination);
  put({0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, 0x50, bits, 0x20, 0, 0, 0, 0, 0});
  return *this;
}

Packet& Packet::udp(std::uint16_t source, std::uint16_t destination) {
  set_next(kUdp);
  l4_ = raw_.size();
  l4_protocol_ = kUdp;
  put16(source);
  put16(destination);
  put16(8);
  put16(0);
  return *this;
}

Packet& Packet::icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
  l4_protocol_ = version_ == 4 ? kIcmp : kIcmp6;
  set_next(l4_protocol_);
  l4_ = raw_.size();
  put({type, code, 0, 0});
  put16(static_cast<std::uint16_t>(rest >> 16));
  put16(static_cast<std::uint16_t>(rest));
  return *this;
}

Packet& Packet::arp(std::uint16_t operation, std::string_view sender_mac, std::string_view sender,
                    std::string_view target_mac, std::string_view target) {
  set_type(0x0806);
  put16(1);
  put16(0x0800);
  put({6, 4});
  put16(operation);
  put(mac_bytes(sender_mac));
  put(ip_bytes(sender));
  put(mac_bytes(target_mac));
  put(ip_bytes(target));
  return *this;
}

Packet& Packet::payload(std::string_view text) {
  put(Bytes(text.begin(), text.end()));
  return *this;
}

Packet& Packet::payload(const Bytes& bytes) {
  put(bytes);
  return *this;
}

Packet& Packet::cut(std::size_t size) {
  cut_ = size;
  return *this;
}

Packet& Packet::protocol(std::uint8_t number) {
  set_next(number);
  return *this;
}

Bytes Packet::bytes() const {
  Bytes out = raw_;
  if (l3_) {
    const std::size_t l3 = *l3_;
    const std::size_t header = version_ == 4 ? (out[l3] & 0xfU) * 4 : 40;
    if (version_ == 4) {
      store16(out, l3 + 2, static_cast<std::uint32_t>(out.size() - l3));
      store16(out, l3 + 10, 0);
      const Bytes ip(out.begin() + static_cast<long>(l3),
                     out.begin() + static_cast<long>(l3 + header));
      store16(out, l3 + 10, static_cast<std::uint16_t>(~sum16(ip)));
    } else {
      store16(out, l3 + 4, static_cast<std::uint32_t>(out.size() - l3 - header));
    }
    if (l4_) {
      const std::size_t check = *l4_ + (l4_protocol_ == kTcp ? 16 : l4_protocol_ == kUdp ? 6 : 2);
      store16(out, check, 0);
      const Bytes body(out.begin() + static_cast<long>(*l4_), out.end());
      std::uint32_t start = 0;
      if (l4_protocol_ != kIcmp) {
        const std::size_t addresses = l3 + (version_ == 4 ? 12 : 8);
        const Bytes pseudo(out.begin() + static_cast<long>(addresses),
                           out.begin() + static_cast<long>(addresses + (version_ == 4 ? 8 : 32)));
        start = sum16(pseudo) + l4_protocol_ + static_cast<std::uint32_t>(body.size());
      }
      store16(out, check, static_cast<std::uint16_t>(~sum16(body, start)));
    }
  }
  if (cut_) {
    out.resize(*cut_);
  }
  return out;
}

Bytes Packet::l3(std::size_t size) const {
  const auto all = bytes();
  const auto begin = all.begin() + static_cast<long>(*l3_);
  return {begin, begin + static_cast<long>(std::min(size, all.size() - *l3_))};
}

std::string Packet::hex() const {
  return to_hex(bytes());
}

}  // namespace metatap::testing
