// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tc_attachment.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iterator>
#include <utility>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

/// Our filter's handle: "mt", and "mu" where we made its qdisc. So that is known for exactly as
/// long as it is true: to the next process after a kill -9, and not to another device's qdisc.
constexpr std::uint32_t kHandle = 0x6d74, kHandleOnOurQdisc = 0x6d75;

/// Our filter's priority is the first from here on that nobody uses. Ahead of the policers of
/// Neutron and Open vSwitch (49) and of libvirt (given by the kernel, 49152 and below). Not 1: Open
/// vSwitch's offload and Cilium ask for it by number, and two kinds of filter cannot share one.
constexpr unsigned kFirstPriority = 2;

/// Two programs that both want to be first would change places for ever.
constexpr unsigned kMostOvertakings = 3;

bool handle_is_ours(const sys::TcFilter& filter) {
  return filter.kind == "bpf" && (filter.handle == kHandle || filter.handle == kHandleOnOurQdisc) &&
         filter.name.starts_with("mt_");
}

unsigned free_priority(const std::vector<sys::TcFilter>& filters) {
  unsigned priority = kFirstPriority;
  while (std::ranges::any_of(filters, [&](const auto& filter) {
    return filter.priority == priority && !handle_is_ours(filter);
  })) {
    ++priority;
  }
  return priority;
}

bool marks_our_qdisc(const sys::TcFilter& filter) {
  return handle_is_ours(filter) && filter.handle == kHandleOnOurQdisc;
}

/// None where they cannot be listed: no such device.
std::vector<sys::TcFilter> filters_of(Result<sys::TrafficControl>& tc, unsigned ifindex,
                                      TcSide side) {
  auto filters = tc ? tc->filters(ifindex, side) : Result<std::vector<sys::TcFilter>>();
  return filters ? *std::move(filters) : std::vector<sys::TcFilter>();
}

const std::vector<TcxProgram> kNobody;

auto find_link(const std::vector<TcxProgram>& programs, int link_fd) {
  const auto id = id_of_link(link_fd);
  return std::ranges::find_if(
      programs, [&](const auto& program) { return id != 0 && program.link_id == id; });
}

bpf_tc_hook hook_of(unsigned ifindex, TcSide side) {
  LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
              .attach_point = side == TcSide::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
  return hook;
}

/// False: there was none.
bool detach_filter(unsigned ifindex, TcSide side, std::uint32_t handle, unsigned priority) {
  const auto hook = hook_of(ifindex, side);
  LIBBPF_OPTS(bpf_tc_opts, options, .handle = handle, .priority = priority);
  return ::bpf_tc_detach(&hook, &options) == 0;
}

/// And the qdisc, if we made it and nobody else has a filter on it.
void remove_filter(unsigned ifindex, TcSide side, std::uint32_t handle, unsigned priority) {
  // Where the filter is not, it may be another device of that number, and the qdisc another's.
  if (!detach_filter(ifindex, side, handle, priority) || handle != kHandleOnOurQdisc) {
    return;
  }
  auto tc = sys::TrafficControl::open();
  const auto kind = tc ? tc->ingress_qdisc(ifindex) : Result<std::string>();
  if (!kind || kind->empty()) {
    return;
  }
  if (const auto bare = tc->is_bare(ifindex, *kind); bare && *bare) {
    (void)tc->delete_ingress_qdisc(ifindex, *kind);
  }
}

/// A program that lets everything pass on.
UniqueFd load_placeholder() {
  const std::array<bpf_insn, 2> pass = {
      bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, TC_ACT_UNSPEC},
      bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  return UniqueFd(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mt_pass", "GPL", pass.data(),
                                  pass.size(), nullptr));
}

}  // namespace

bool attaches_by_filter(AttachMode mode) {
  return mode == AttachMode::clsact || (mode == AttachMode::automatic && !kernel_has_tcx());
}

void remove_left_filters(unsigned ifindex, TcSide side) {
  auto tc = sys::TrafficControl::open();
  for (const auto& filter : filters_of(tc, ifindex, side)) {
    if (handle_is_ours(filter)) {
      remove_filter(ifindex, side, filter.handle, filter.priority);
    }
  }
}

TcAttachment::TcAttachment(TcAttachment&& other) noexcept
    : program_fd_(other.program_fd_),
      ifindex_(std::exchange(other.ifindex_, 0)),
      side_(other.side_),
      pin_(std::move(other.pin_)),
      link_(std::move(other.link_)),
      priority_(other.priority_),
      handle_(other.handle_),
      overtakings_(other.overtakings_),
      overtaken_(std::move(other.overtaken_)),
      may_overtake_(other.may_overtake_),
      before_(std::move(other.before_)),
      kept_(other.kept_) {}

TcAttachment& TcAttachment::operator=(TcAttachment&& other) noexcept {
  if (this != &other) {
    detach();
    program_fd_ = other.program_fd_;
    ifindex_ = std::exchange(other.ifindex_, 0);
    side_ = other.side_;
    pin_ = std::move(other.pin_);
    link_ = std::move(other.link_);
    priority_ = other.priority_;
    handle_ = other.handle_;
    overtakings_ = other.overtakings_;
    overtaken_ = std::move(other.overtaken_);
    may_overtake_ = other.may_overtake_;
    before_ = std::move(other.before_);
    kept_ = other.kept_;
  }
  return *this;
}

TcAttachment::~TcAttachment() {
  detach();
}

Result<TcAttachment> TcAttachment::attach(int program_fd, unsigned ifindex, AttachMode mode,
                                          std::filesystem::path pin, TcSide side) {
  if (mode == AttachMode::tcx && !kernel_has_tcx()) {
    return fail(ErrorCode::unsupported,
                "attach by TCX: this kernel has none (6.6 or newer); use attach = auto");
  }
  TcAttachment attachment(program_fd, ifindex, std::move(pin), side);
  if (!attaches_by_filter(mode)) {
    if (auto attached = attachment.attach_tcx(); !attached) {
      return tl::make_unexpected(std::move(attached.error()));
    }
  } else {
    if (auto put = attachment.put_filter(MakeQdisc::yes); !put) {
      return tl::make_unexpected(std::move(put.error()));
    }
    ::unlink(attachment.pin_.c_str());  // of a process that used TCX
  }
  attachment.look();
  return attachment;
}

TcAttachment::Standing TcAttachment::look(MakeQdisc make) {
  if (ifindex_ == 0) {
    return Standing::gone;
  }
  auto standing = list_before();
  if (standing == Standing::bare) {
    return put_back(make);
  }
  if (standing == Standing::gone) {
    return standing;
  }
  if (before_.empty()) {
    overtakings_ = 0;
    return standing;
  }
  if (overtakings_ == kMostOvertakings || !may_overtake_) {
    return standing;
  }
  ++overtakings_;
  const auto others = after_whom();
  if (auto moved = link_ ? move_tcx_first() : put_filter(MakeQdisc::no); !moved) {
    log::warn("link {}: {}: {}", ifindex_, others, moved.error().message);
    return standing;
  }
  standing = list_before();
  overtaken_ = Overtaking{others, std::chrono::system_clock::now()};
  log::info("link {}: was {}; {}", ifindex_, others, before_.empty() ? "is first again" : "still");
  return standing;
}

TcAttachment::Standing TcAttachment::put_back(MakeQdisc make) {
  if (auto put = put_filter(make); !put) {
    auto tc = sys::TrafficControl::open();
    if (tc && !tc->ingress_qdisc(ifindex_)) {
      return Standing::gone;
    }
    if (put.error().code != ErrorCode::not_found) {
      log::warn("link {}: {}", ifindex_, put.error().message);
    }
    return Standing::bare;
  }
  log::warn("link {}: somebody took our filter away; it is back", ifindex_);
  return list_before();
}

TcAttachment::Standing TcAttachment::list_before() {
  before_.clear();
  may_overtake_ = false;
  const auto programs = tcx_programs(ifindex_, side_);
  if (link_) {
    // Asked of the device: the link alone would not tell it from a device of this number in
    // another namespace.
    const auto ours = programs ? find_link(*programs, link_.get()) : kNobody.end();
    if (!programs || ours == programs->end()) {
      return Standing::gone;
    }
    std::transform(programs->begin(), ours, std::back_inserter(before_),
                   [](const auto& program) { return text_of(program); });
    may_overtake_ = true;
    return Standing::attached;
  }
  auto tc = sys::TrafficControl::open();
  const auto filters = filters_of(tc, ifindex_, side_);
  const auto ours = std::ranges::find_if(filters, handle_is_ours);
  if (ours == filters.end()) {
    return Standing::bare;
  }
  // Another process of ours may have put it elsewhere, or its own program there: an upgrade.
  handle_ = ours->handle;
  priority_ = ours->priority;
  for (const auto& program : programs ? *programs : kNobody) {
    before_.push_back(text_of(program));
  }
  for (auto other = filters.begin(); other != ours; ++other) {
    before_.push_back(text_of(*other));
    may_overtake_ = free_priority(filters) < priority_;
  }
  return Standing::attached;
}

std::string TcAttachment::after_whom() const {
  std::string text;
  for (const auto& name : before_) {
    text += (text.empty() ? "after " : ", ") + name;
  }
  return text.empty() ? text : text + ", which may take packets first";
}

void TcAttachment::detach() {
  const unsigned ifindex = std::exchange(ifindex_, 0U);
  if (ifindex != 0 && !kept_) {
    if (link_) {
      ::unlink(pin_.c_str());
    } else if (handle_ != 0) {
      remove_filter(ifindex, side_, handle_, priority_);
    }
  }
  link_.reset();
}

// ---- TCX ----

Status TcAttachment::attach_tcx() {
  if (UniqueFd pinned(::bpf_obj_get(pin_.c_str())); pinned) {
    link_ = std::move(pinned);
    if (list_before() == Standing::attached &&
        ::bpf_link_update(link_.get(), program_fd_, nullptr) == 0) {
      return {};
    }
    link_.reset();
    ::unlink(pin_.c_str());  // of a device that has gone, or that is in another namespace
  }
  auto link = attach_tcx_first(program_fd_, ifindex_, side_);
  if (!link) {
    ifindex_ = 0;
    return tl::make_unexpected(std::move(link.error()));
  }
  link_ = *std::move(link);
  if (::bpf_obj_pin(link_.get(), pin_.c_str()) != 0) {
    return fail_errno(errno, "pin " + pin_.string());
  }
  remove_left_filters(ifindex_, side_);  // of a process that used filters
  return {};
}

/// A link cannot move, and no program can be on a device twice: the old link gets one that passes
/// everything on for the moment (some microseconds) until ours is attached again, by a new link.
Status TcAttachment::move_tcx_first() {
  const auto placeholder = load_placeholder();
  if (!placeholder || ::bpf_link_update(link_.get(), placeholder.get(), nullptr) != 0) {
    return fail_errno(errno, "make room");
  }
  auto fresh = attach_tcx_first(program_fd_, ifindex_, side_);
  Status moved;
  if (!fresh) {
    moved = tl::make_unexpected(std::move(fresh.error()));
  } else {
    const auto pin = pin_.string() + "_new";
    ::unlink(pin.c_str());
    if (::bpf_obj_pin(fresh->get(), pin.c_str()) != 0 || ::rename(pin.c_str(), pin_.c_str()) != 0) {
      moved = fail_errno(errno, "pin " + pin);
      ::unlink(pin.c_str());
    }
  }
  if (!moved) {
    fresh = tl::make_unexpected(moved.error());  // lets go of it: the program may be back below
    (void)::bpf_link_update(link_.get(), program_fd_, nullptr);
    return moved;
  }
  link_ = *std::move(fresh);
  return {};
}

// ---- filters ----

Status TcAttachment::put_filter(MakeQdisc make) {
  auto tc = sys::TrafficControl::open();
  if (!tc) {
    return tl::make_unexpected(std::move(tc.error()));
  }
  auto kind = tc->ingress_qdisc(ifindex_);
  if (!kind) {
    return tl::make_unexpected(std::move(kind.error()));
  }
  bool made = false;
  if (kind->empty()) {
    if (make == MakeQdisc::no) {
      return fail(ErrorCode::not_found, "no qdisc");
    }
    // Not clsact where ingress is enough: Open vSwitch and libvirt set a bandwidth limit by
    // deleting the ingress qdisc and making it anew, and cannot while a clsact is in its place.
    *kind = side_ == TcSide::ingress ? "ingress" : "clsact";
    if (auto added = tc->add_ingress_qdisc(ifindex_, *kind); !added) {
      return added;
    }
    made = true;
  } else if (side_ == TcSide::egress && *kind != "clsact") {
    return fail(ErrorCode::conflict, "link " + std::to_string(ifindex_) + " has an " + *kind +
                                         " qdisc of somebody else's (a bandwidth limit?), and "
                                         "clsact, which is needed here, cannot be beside it");
  }
  const auto filters = filters_of(tc, ifindex_, side_);
  bool on_our_qdisc = made || std::ranges::any_of(filters, marks_our_qdisc);
  if (*kind == "clsact") {
    const auto other = side_ == TcSide::ingress ? TcSide::egress : TcSide::ingress;
    on_our_qdisc =
        on_our_qdisc || std::ranges::any_of(filters_of(tc, ifindex_, other), marks_our_qdisc);
  }
  auto hook = hook_of(ifindex_, side_);
  if (*kind == "ingress") {
    // As everybody names it there: `tc` shows all of a qdisc's filters under the last one's parent.
    hook.attach_point = BPF_TC_CUSTOM;
    hook.parent = TC_H_MAKE(TC_H_INGRESS, 0);
  }
  const unsigned priority = free_priority(filters);
  const std::uint32_t handle = on_our_qdisc ? kHandleOnOurQdisc : kHandle;
  LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd_, .flags = BPF_TC_F_REPLACE,
              .handle = handle, .priority = priority);
  if (const int error = ::bpf_tc_attach(&hook, &options); error != 0) {
    if (made) {
      (void)tc->delete_ingress_qdisc(ifindex_, *kind);
    }
    return fail_errno(-error, "attach a filter to link " + std::to_string(ifindex_));
  }
  priority_ = priority;
  handle_ = handle;
  // Its predecessor, should it have been elsewhere.
  for (const auto& old : filters) {
    if (handle_is_ours(old) && (old.handle != handle_ || old.priority != priority_)) {
      (void)detach_filter(ifindex_, side_, old.handle, old.priority);
    }
  }
  return {};
}

}  // namespace metatap::dataplane
