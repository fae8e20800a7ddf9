// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tc_attachment.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <utility>

namespace metatap::dataplane {
namespace {

// Newer than Debian 12's headers.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kTcxEgress = static_cast<bpf_attach_type>(47);

// Our filter's place among others: "mt".
constexpr unsigned kHandle = 0x6d74;
constexpr unsigned kPriority = 0x6d74;

bpf_tc_attach_point point_of(TcSide side) {
  return side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

/// The device a TCX link is on; 0 when that device has gone.
unsigned ifindex_of_link(int link) {
  bpf_link_info info{};
  std::uint32_t size = sizeof(info);
  if (::bpf_obj_get_info_by_fd(link, &info, &size) != 0) {
    return 0;
  }
  // bpf_link_info.tcx begins with the ifindex, as .xdp does.
  return info.xdp.ifindex;
}

}  // namespace

TcAttachment::TcAttachment(TcAttachment&& other) noexcept
    : ifindex_(std::exchange(other.ifindex_, 0)),
      side_(other.side_),
      pin_(std::move(other.pin_)),
      link_(std::move(other.link_)),
      created_qdisc_(other.created_qdisc_),
      kept_(other.kept_) {}

TcAttachment& TcAttachment::operator=(TcAttachment&& other) noexcept {
  if (this != &other) {
    detach();
    ifindex_ = std::exchange(other.ifindex_, 0);
    side_ = other.side_;
    pin_ = std::move(other.pin_);
    link_ = std::move(other.link_);
    created_qdisc_ = other.created_qdisc_;
    kept_ = other.kept_;
  }
  return *this;
}

TcAttachment::~TcAttachment() {
  detach();
}

bool TcAttachment::kernel_has_tcx() {
  std::uint32_t count = 0;
  // Asked of the loopback device: it is in every namespace, as number 1.
  return ::bpf_prog_query(1, kTcxIngress, 0, nullptr, nullptr, &count) == 0;
}

Result<TcAttachment> TcAttachment::attach(int program_fd, unsigned ifindex, AttachMode mode,
                                          std::filesystem::path pin, TcSide side) {
  const bool tcx = mode == AttachMode::tcx || (mode == AttachMode::automatic && kernel_has_tcx());
  if (mode == AttachMode::tcx && !kernel_has_tcx()) {
    return fail(ErrorCode::unsupported,
                "attach by TCX: this kernel has none (6.6 or newer); use attach = auto");
  }
  return tcx ? attach_tcx(program_fd, ifindex, pin, side)
             : attach_clsact(program_fd, ifindex, side);
}

Result<TcAttachment> TcAttachment::attach_tcx(int program_fd, unsigned ifindex,
                                              const std::filesystem::path& pin, TcSide side) {
  TcAttachment attachment(ifindex, pin, side);
  if (UniqueFd pinned(::bpf_obj_get(pin.c_str())); pinned) {
    if (ifindex_of_link(pinned.get()) == ifindex &&
        ::bpf_link_update(pinned.get(), program_fd, nullptr) == 0) {
      attachment.link_ = std::move(pinned);
      return attachment;
    }
    ::unlink(pin.c_str());  // of a device that has gone
  }
  attachment.link_.reset(::bpf_link_create(program_fd, static_cast<int>(ifindex),
                                           side == TcSide::ingress ? kTcxIngress : kTcxEgress,
                                           nullptr));
  if (!attachment.link_) {
    attachment.ifindex_ = 0;
    return fail_errno(errno, "attach by TCX to link " + std::to_string(ifindex));
  }
  if (::bpf_obj_pin(attachment.link_.get(), pin.c_str()) != 0) {
    return fail_errno(errno, "pin " + pin.string());
  }
  return attachment;
}

Result<TcAttachment> TcAttachment::attach_clsact(int program_fd, unsigned ifindex, TcSide side) {
  TcAttachment attachment(ifindex, {}, side);
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point_of(side));
  const int made = ::bpf_tc_hook_create(&hook);
  if (made != 0 && made != -EEXIST) {
    attachment.ifindex_ = 0;
    return fail_errno(-made, "create clsact qdisc on link " + std::to_string(ifindex));
  }
  attachment.created_qdisc_ = made == 0;
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd, .flags = BPF_TC_F_REPLACE,
              .handle = kHandle, .priority = kPriority);
  if (const int error = ::bpf_tc_attach(&hook, &options); error != 0) {
    return fail_errno(-error, "attach by clsact to link " + std::to_string(ifindex));
  }
  return attachment;
}

bool TcAttachment::alive() const {
  if (ifindex_ == 0) {
    return false;
  }
  if (link_) {
    return ifindex_of_link(link_.get()) == ifindex_;
  }
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex_),
              .attach_point = point_of(side_));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kHandle, .priority = kPriority);
  return ::bpf_tc_query(&hook, &options) == 0;
}

void TcAttachment::detach() {
  const unsigned ifindex = std::exchange(ifindex_, 0U);
  if (ifindex == 0 || kept_) {
    link_.reset();
    return;
  }
  if (link_) {
    ::unlink(pin_.c_str());
    link_.reset();
    return;
  }
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = point_of(side_));
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = kHandle, .priority = kPriority);
  ::bpf_tc_detach(&hook, &options);
  if (created_qdisc_) {
    hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
    ::bpf_tc_hook_destroy(&hook);
  }
}

}  // namespace metatap::dataplane
