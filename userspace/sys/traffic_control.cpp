// SPDX-License-Identifier: Apache-2.0
#include "sys/traffic_control.hpp"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <functional>
#include <span>

namespace metatap::sys {
namespace {

/// A request about one device, in a buffer of its own.
class FilterRequest {
 public:
  FilterRequest(std::uint16_t type, std::uint16_t flags, unsigned ifindex, std::uint32_t parent)
      : header_(mnl_nlmsg_put_header(bytes_.data())) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    tc_ = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(header_, sizeof(tcmsg)));
    tc_->tcm_family = AF_UNSPEC;
    tc_->tcm_ifindex = static_cast<int>(ifindex);
    tc_->tcm_parent = parent;
  }
  nlmsghdr* header() { return header_; }
  tcmsg* tc() { return tc_; }

 private:
  alignas(nlmsghdr) std::array<char, 512> bytes_{};
  nlmsghdr* header_;
  tcmsg* tc_ = nullptr;
};

using Attributes = std::array<const nlattr*, 64>;

int keep(const nlattr* attribute, void* table) {
  auto& attributes = *static_cast<Attributes*>(table);
  if (const auto type = mnl_attr_get_type(attribute); type < attributes.size()) {
    attributes[type] = attribute;
  }
  return MNL_CB_OK;
}

std::string text_of(const nlattr* attribute) {
  return attribute == nullptr ? std::string() : mnl_attr_get_str(attribute);
}

std::uint32_t number_of(const nlattr* attribute) {
  return attribute == nullptr ? 0 : mnl_attr_get_u32(attribute);
}

/// `ffff:fff2` and `ffff:fff3`: the two sides of clsact; an ingress qdisc has the first only.
std::uint32_t parent_of(TcSide side) {
  return TC_H_MAKE(TC_H_CLSACT, side == TcSide::ingress ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

struct Listed {
  TcFilter filter;
  std::uint32_t chain = 0;
};

Result<std::vector<Listed>> list(Netlink& netlink, unsigned ifindex, TcSide side) {
  std::vector<Listed> found;
  FilterRequest request(RTM_GETTFILTER, NLM_F_DUMP, ifindex, parent_of(side));
  auto done = netlink.socket().dump(
      request.header(), fmt::format("list filters of link {}", ifindex),
      [&](const nlmsghdr* received) {
        if (received->nlmsg_type != RTM_NEWTFILTER) {
          return;
        }
        const auto* tc = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(received));
        Attributes attributes{};
        mnl_attr_parse(received, sizeof(*tc), keep, &attributes);
        Listed entry;
        entry.filter.priority = tc->tcm_info >> 16;
        entry.filter.handle = tc->tcm_handle;
        entry.filter.kind = text_of(attributes[TCA_KIND]);
        entry.chain = number_of(attributes[TCA_CHAIN]);
        if (entry.filter.kind == "bpf" && attributes[TCA_OPTIONS] != nullptr) {
          Attributes options{};
          mnl_attr_parse_nested(attributes[TCA_OPTIONS], keep, &options);
          entry.filter.name = text_of(options[TCA_BPF_NAME]);
          entry.filter.program_id = number_of(options[TCA_BPF_ID]);
        }
        found.push_back(std::move(entry));
      });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

}  // namespace

Result<TrafficControl> TrafficControl::open() {
  auto netlink = Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  return TrafficControl(*std::move(netlink));
}

Result<std::string> TrafficControl::ingress_qdisc(unsigned ifindex) {
  // Asked for by its parent: a dump would list the qdiscs of every device. The kernel answers as
  // if the qdisc had just been made: to the asker by NLM_F_ECHO, and to whoever listens for
  // changes (see is_filter_change()).
  FilterRequest request(RTM_GETQDISC, NLM_F_ACK | NLM_F_ECHO, ifindex, TC_H_INGRESS);
  std::string kind;
  auto done = netlink_.socket().dump(request.header(), fmt::format("qdisc of link {}", ifindex),
                                     [&](const nlmsghdr* received) {
                                       if (received->nlmsg_type == RTM_NEWQDISC) {
                                         Attributes attributes{};
                                         mnl_attr_parse(received, sizeof(tcmsg), keep, &attributes);
                                         kind = text_of(attributes[TCA_KIND]);
                                       }
                                     });
  if (done) {
    return kind;
  }
  // ENOENT: there is none, or no such device. Where there has been one there is just no answer.
  if (auto link = netlink_.link(ifindex); !link) {
    return tl::make_unexpected(std::move(link.error()));
  }
  return std::string();
}

Status TrafficControl::add_ingress_qdisc(unsigned ifindex, const std::string& kind) {
  FilterRequest request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, TC_H_INGRESS);
  request.tc()->tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0);
  mnl_attr_put_strz(request.header(), TCA_KIND, kind.c_str());
  return netlink_.socket().transact(request.header(),
                                    fmt::format("make {} qdisc on link {}", kind, ifindex));
}

Status TrafficControl::delete_ingress_qdisc(unsigned ifindex, const std::string& kind) {
  FilterRequest request(RTM_DELQDISC, 0, ifindex, TC_H_INGRESS);
  request.tc()->tcm_handle = TC_H_MAKE(TC_H_INGRESS, 0);
  mnl_attr_put_strz(request.header(), TCA_KIND, kind.c_str());
  return netlink_.socket().transact(request.header(),
                                    fmt::format("delete {} qdisc of link {}", kind, ifindex));
}

Result<std::vector<TcFilter>> TrafficControl::filters(unsigned ifindex, TcSide side) {
  auto listed = list(netlink_, ifindex, side);
  if (!listed) {
    return tl::make_unexpected(std::move(listed.error()));
  }
  std::vector<TcFilter> filters;
  for (auto& entry : *listed) {
    // Each priority is announced once without a handle, and u32 shows its hash tables as well.
    const bool known = !filters.empty() && filters.back().priority == entry.filter.priority &&
                       entry.filter.kind != "bpf";
    if (entry.chain == 0 && entry.filter.handle != 0 && !known) {
      filters.push_back(std::move(entry.filter));
    }
  }
  return filters;
}

Result<bool> TrafficControl::is_bare(unsigned ifindex, const std::string& kind) {
  constexpr std::array kSides = {TcSide::ingress, TcSide::egress};
  // Asked for its egress side, an ingress qdisc would show its only one again.
  for (const auto side : std::span(kSides).first(kind == "clsact" ? 2 : 1)) {
    const auto listed = list(netlink_, ifindex, side);
    if (!listed) {
      return tl::make_unexpected(listed.error());
    }
    if (!listed->empty()) {
      return false;
    }
  }
  return true;
}

}  // namespace metatap::sys
