// SPDX-License-Identifier: Apache-2.0
#include "sys/sock_diag.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace metatap::sys {
namespace {

/// What appears during one list is found by the next. There is an end to it: who is swept away has
/// lost its port before.
constexpr int kRounds = 5;

struct DiagRequest {
  explicit DiagRequest(std::uint16_t type, std::uint16_t flags, int family) {
    header = mnl_nlmsg_put_header(bytes.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    body = static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(*body)));
    body->sdiag_family = static_cast<std::uint8_t>(family);
    body->sdiag_protocol = IPPROTO_TCP;
    body->idiag_states = ~0U;
  }
  std::array<char, 512> bytes{};
  nlmsghdr* header = nullptr;
  inet_diag_req_v2* body = nullptr;
};

/// The kernel's filter program "bound to `local`": one condition, which falls through to the end
/// (yes) or jumps beyond it (no).
void put_filter(nlmsghdr* header, const Address& local) {
  struct {
    inet_diag_bc_op op{};
    std::uint8_t family = 0, prefix = 0;  // inet_diag_hostcond, with room for its address
    std::uint16_t pad = 0;
    int port = -1;
    std::array<std::uint8_t, 16> address{};
  } filter;
  const auto size = static_cast<std::uint16_t>(sizeof(filter) - 16 + local.size());
  filter.op.code = INET_DIAG_BC_S_COND;
  filter.op.yes = static_cast<std::uint8_t>(size);
  filter.op.no = static_cast<std::uint16_t>(size + 4);
  filter.family = static_cast<std::uint8_t>(local.family);
  filter.prefix = static_cast<std::uint8_t>(local.size() * 8);
  filter.address = local.bytes;
  mnl_attr_put(header, INET_DIAG_REQ_BYTECODE, size, &filter);
}

TcpSocket to_socket(const nlmsghdr* message) {
  const auto* info = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  TcpSocket socket;
  socket.state = info->idiag_state;
  socket.local.family = socket.peer.family = info->idiag_family;
  std::memcpy(socket.local.bytes.data(), info->id.idiag_src, socket.local.size());
  std::memcpy(socket.peer.bytes.data(), info->id.idiag_dst, socket.peer.size());
  socket.local_port = ntohs(info->id.idiag_sport);
  socket.peer_port = ntohs(info->id.idiag_dport);
  socket.ifindex = info->id.idiag_if;
  std::memcpy(&socket.cookie, info->id.idiag_cookie, sizeof(socket.cookie));
  mnl_attr_parse(
      message, sizeof(*info),
      [](const nlattr* attribute, void* data) -> int {
        if (mnl_attr_get_type(attribute) == INET_DIAG_MARK) {
          static_cast<TcpSocket*>(data)->mark = mnl_attr_get_u32(attribute);
        }
        return MNL_CB_OK;
      },
      &socket);
  return socket;
}

}  // namespace

bool TcpSocket::listening() const {
  return state == TCP_LISTEN;
}

bool TcpSocket::only_remembered() const {
  return state == TCP_TIME_WAIT || state == TCP_FIN_WAIT2;
}

Result<SockDiag> SockDiag::open() {
  auto socket = NetlinkSocket::open(NETLINK_SOCK_DIAG, "sock_diag");
  if (!socket) {
    return tl::make_unexpected(std::move(socket.error()));
  }
  return SockDiag(*std::move(socket));
}

Status SockDiag::list(int family, const Address* local, std::vector<TcpSocket>& found,
                      Which which) {
  DiagRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family);
  if (which == Which::listening) {
    request.body->idiag_states = 1U << TCP_LISTEN;
  }
  if (local != nullptr) {
    put_filter(request.header, *local);
  }
  return socket_.dump(request.header, "list TCP sockets", [&](const nlmsghdr* message) {
    if (message->nlmsg_type == SOCK_DIAG_BY_FAMILY) {
      found.push_back(to_socket(message));
    }
  });
}

Result<std::vector<TcpSocket>> SockDiag::tcp_sockets(std::vector<Address> local) {
  std::vector<TcpSocket> found;
  Status done;
  if (local.empty()) {
    done = list(AF_INET, nullptr, found);
    // A kernel without IPv6 knows no such family.
    if (auto v6 = done ? list(AF_INET6, nullptr, found) : done;
        !v6 && v6.error().code != ErrorCode::not_found) {
      done = v6;
    }
  }
  for (const auto& address : local) {
    if (auto one = done ? list(address.family, &address, found) : done;
        !one && (address.family == AF_INET || one.error().code != ErrorCode::not_found)) {
      done = one;
    }
  }
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

Result<std::vector<TcpSocket>> SockDiag::listeners() {
  std::vector<TcpSocket> found;
  for (const int family : {AF_INET, AF_INET6}) {
    if (auto done = list(family, nullptr, found, Which::listening);
        !done && (family == AF_INET || done.error().code != ErrorCode::not_found)) {
      return tl::make_unexpected(std::move(done.error()));
    }
  }
  return found;
}

Result<bool> SockDiag::listens(const Address& local, std::uint16_t port, unsigned ifindex) {
  DiagRequest request(SOCK_DIAG_BY_FAMILY, NLM_F_ACK, local.family);
  auto& id = request.body->id;
  id.idiag_sport = htons(port);
  std::memcpy(id.idiag_src, local.bytes.data(), local.size());
  id.idiag_if = ifindex;
  std::ranges::fill(id.idiag_cookie, INET_DIAG_NOCOOKIE);
  bool found = false;
  auto done = socket_.dump(request.header, "look up a listener", [&](const nlmsghdr* message) {
    found = found || (message->nlmsg_type == SOCK_DIAG_BY_FAMILY && to_socket(message).listening());
  });
  if (!done && done.error().code != ErrorCode::not_found) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

Status SockDiag::destroy(const TcpSocket& socket) {
  DiagRequest request(SOCK_DESTROY, 0, socket.local.family);
  auto& id = request.body->id;
  id.idiag_sport = htons(socket.local_port);
  id.idiag_dport = htons(socket.peer_port);
  std::memcpy(id.idiag_src, socket.local.bytes.data(), socket.local.size());
  std::memcpy(id.idiag_dst, socket.peer.bytes.data(), socket.peer.size());
  id.idiag_if = socket.ifindex;
  std::memcpy(id.idiag_cookie, &socket.cookie, sizeof(socket.cookie));
  auto done = socket_.transact(request.header, "destroy a TCP socket");
  return !done && done.error().code == ErrorCode::not_found ? Status() : done;
}

Status SockDiag::can_destroy() {
  // From port 0 to port 0 there is no connection: a kernel that can looks and finds none.
  TcpSocket nobody;
  nobody.local.family = nobody.peer.family = AF_INET;
  return destroy(nobody);
}

Result<SockDiag::Swept> SockDiag::sweep(const std::function<bool(const TcpSocket&)>& condemned,
                                        const std::vector<Address>& local) {
  if (auto able = can_destroy(); !able) {
    return tl::make_unexpected(std::move(able.error()));
  }
  Swept swept;
  // Not asked about twice: an orphan that an older kernel leaves in the table, or a TIME_WAIT.
  std::set<std::uint64_t> done;
  bool again = true;
  for (int round = 0; again && round < kRounds; ++round) {
    const auto sockets = tcp_sockets(local);
    if (!sockets) {
      return tl::make_unexpected(sockets.error());
    }
    again = false;
    swept.left = 0;
    for (const auto& socket : *sockets) {
      if (socket.listening() || done.contains(socket.cookie) || !condemned(socket)) {
        continue;
      }
      if (destroy(socket)) {
        done.insert(socket.cookie);
        ++swept.destroyed;
        again = true;
      } else if (socket.only_remembered()) {
        done.insert(socket.cookie);
      } else {
        ++swept.left;
        again = true;  // its addresses may have been another's just then
      }
    }
  }
  if (again && swept.left == 0) {
    swept.left = 1;  // they come faster than they go
  }
  return swept;
}

}  // namespace metatap::sys
