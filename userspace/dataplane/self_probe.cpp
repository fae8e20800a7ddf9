// SPDX-License-Identifier: Apache-2.0
#include "dataplane/self_probe.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "dataplane/alias.hpp"
#include "dataplane/guest_frames.hpp"
#include "dataplane/metadata_namespace.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

constexpr auto kEvery = 1000ms;
/// The kernel answers before the call that asks is over, unless it has a lot to do.
constexpr auto kPatience = 150ms;
constexpr unsigned kUnanswered = 3;
constexpr std::uint16_t kFirstPort = 1024;
constexpr std::uint32_t kSequence = 1;

Address source_of(int family) {
  constexpr Alias kNobody{MT_PROBE_SLOT, 0, 1};
  return family == AF_INET ? kNobody.v4()
                           : kNobody.v6(Address::parse("fd00::6d65:7461:7461:70").value());
}

Frame frame_of(int family, std::uint16_t port, TcpFlag flag) {
  const FrameEnds ends{MetadataNamespace::kMetadataMac, MetadataNamespace::kInnerMac, 0};
  return tcp_segment(ends, source_of(family), port, flag,
                     flag == TcpFlag::syn ? kSequence : kSequence + 1);
}

}  // namespace

SelfProbe::SelfProbe(std::shared_ptr<Core> core, boost::asio::io_context& control, Changed changed)
    : core_(std::move(core)), tick_(control), changed_(std::move(changed)) {}

void SelfProbe::start(bool v6, std::function<bool()> wanted) {
  wanted_ = std::move(wanted);
  tries_[AF_INET] = {};
  if (v6) {
    tries_[AF_INET6] = {};
  }
  wait(kEvery);
}

void SelfProbe::stop() {
  tick_.cancel();
  tries_.clear();
}

void SelfProbe::wait(std::chrono::milliseconds time) {
  tick_.expires_after(time);
  tick_.async_wait([this](boost::system::error_code error) {
    if (!error) {
      look();
    }
  });
}

/// What was sent last is judged first: it has had its time.
void SelfProbe::look() {
  bool open = false;
  for (auto& [family, one] : tries_) {
    if (one.port != 0 && !is_answered(family)) {
      one.unanswered = std::min(one.unanswered + 1, kUnanswered);
      take_back(family);
    }
    if (!wanted_()) {
      one = {};
      continue;
    }
    send(family);
    open = !is_answered(family) || open;
  }
  report();
  wait(open ? kPatience : kEvery);
}

void SelfProbe::report() {
  const auto now = std::chrono::system_clock::now();
  bool changed = false;
  for (const auto& [family, one] : tries_) {
    const bool good = one.unanswered < kUnanswered;
    auto& answer = answers_.try_emplace(family, Answer{true, now, {}}).first->second;
    if (answer.good != good) {
      answer.good = good;
      answer.since = now;
      changed = true;
    }
  }
  if (!changed) {
    return;
  }
  if (const auto said = problem(); said.empty()) {
    log::info("our own connections into namespace {} are answered again",
              core_->options.namespace_name);
  } else {
    log::error("{}", said);
  }
  changed_();
}

bool SelfProbe::is_answered(int family) {
  auto& one = tries_.at(family);
  if (core_->programs->probe_answered(family) != one.port) {
    return false;
  }
  take_back(family);
  one.unanswered = 0;
  answers_[family].answered = std::chrono::system_clock::now();
  return true;
}

void SelfProbe::send(int family) {
  last_port_ = last_port_ == 0xffff || last_port_ < kFirstPort
                   ? kFirstPort
                   : static_cast<std::uint16_t>(last_port_ + 1);
  auto& one = tries_.at(family);
  one.port = last_port_;
  const auto frame = frame_of(family, one.port, TcpFlag::syn);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()));
  (void)::bpf_prog_test_run_opts(core_->programs->program("mt_probe"), &options);
}

/// Else the kernel would repeat its answer to it for a minute.
void SelfProbe::take_back(int family) {
  const auto port = std::exchange(tries_.at(family).port, std::uint16_t{0});
  const auto frame = frame_of(family, port, TcpFlag::reset);
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(),
              .data_size_in = static_cast<std::uint32_t>(frame.size()));
  (void)::bpf_prog_test_run_opts(core_->programs->program("mt_probe"), &options);
}

std::string SelfProbe::problem() const {
  std::string families;
  for (const auto& [family, answer] : answers_) {
    if (!answer.good) {
      families +=
          (families.empty() ? "" : " and ") + std::string(family == AF_INET ? "IPv4" : "IPv6");
    }
  }
  return families.empty() ? families
                          : "our own connections into namespace " + core_->options.namespace_name +
                                " are not answered by " + families;
}

}  // namespace metatap::dataplane
