// SPDX-License-Identifier: Apache-2.0
#include "channel/socket.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace metatap::channel {
namespace {

constexpr std::uint32_t kMagic = 0x6d746368;  // "mtch"

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kVersion;
  std::uint16_t type = 0;
  std::uint64_t length = 0;  ///< of the body, wherever it is
  std::uint8_t descriptors = 0;
  std::uint8_t in_file = 0;  ///< 1: the body is in one more descriptor, the first
  std::uint8_t pad[6] = {};
};
static_assert(sizeof(Header) == 24);

constexpr std::size_t kMostPassed = kMostDescriptors + 1;

tl::unexpected<Error> broken(std::string what) {
  return fail(ErrorCode::invalid, "a message of the other process: " + std::move(what));
}

Result<UniqueFd> write_file(std::string_view body) {
  UniqueFd file(::memfd_create("metatap-message", MFD_CLOEXEC));
  if (!file) {
    return fail_errno(errno, "make a file for a message");
  }
  for (std::size_t at = 0; at < body.size();) {
    const auto done = ::write(file.get(), body.data() + at, body.size() - at);
    if (done <= 0) {
      return fail_errno(errno, "write a message to its file");
    }
    at += static_cast<std::size_t>(done);
  }
  return file;
}

/// Copied, not mapped: whoever sent it may still change it, or make it shorter.
Result<std::string> read_file(int file, std::uint64_t length) {
  struct stat about{};
  if (::fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
    return broken("its body is in something that is no file");
  }
  std::string body(length, '\0');
  for (std::size_t at = 0; at < body.size();) {
    const auto done = ::pread(file, body.data() + at, body.size() - at, static_cast<off_t>(at));
    if (done <= 0) {
      return broken("its body breaks off");
    }
    at += static_cast<std::size_t>(done);
  }
  return body;
}

std::vector<UniqueFd> take_descriptors(msghdr& message) {
  std::vector<UniqueFd> all;
  for (auto* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
      all.emplace_back(fd);
    }
  }
  return all;
}

/// What is known to have come whole.
Result<Frame> frame_of(std::string_view bytes, std::vector<UniqueFd> descriptors) {
  Header header;
  if (bytes.size() < sizeof(header)) {
    return broken("it breaks off in its head");
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  bytes.remove_prefix(sizeof(header));
  if (header.magic != kMagic) {
    return broken("it is none");
  }
  if (header.version != kVersion) {
    return fail(ErrorCode::unsupported, "a message of the other process: it is of version " +
                                            std::to_string(header.version) + ", ours is " +
                                            std::to_string(kVersion));
  }
  if (header.in_file > 1 || header.length > kMostBytes ||
      (header.in_file == 0 ? header.length != bytes.size() : !bytes.empty())) {
    return broken("its length is wrong");
  }
  const std::size_t announced = std::size_t{header.descriptors} + header.in_file;
  if (announced != descriptors.size()) {
    return broken(std::to_string(announced) + " descriptors belong to it, " +
                  std::to_string(descriptors.size()) + " arrived");
  }
  Frame frame{header.type, std::string(bytes), std::move(descriptors)};
  if (header.in_file == 1) {
    auto body = read_file(frame.descriptors.front().get(), header.length);
    if (!body) {
      return tl::make_unexpected(std::move(body.error()));
    }
    frame.body = *std::move(body);
    frame.descriptors.erase(frame.descriptors.begin());
  }
  return frame;
}

}  // namespace

Result<std::pair<Socket, Socket>> Socket::pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno(errno, "make a channel");
  }
  return std::pair(Socket(UniqueFd(ends[0])), Socket(UniqueFd(ends[1])));
}

Result<bool> Socket::send(std::uint16_t type, std::string_view body,
                          std::span<const int> descriptors) const {
  if (body.size() > kMostBytes || descriptors.size() > kMostDescriptors) {
    return fail(ErrorCode::invalid, "a message that is too large for the channel");
  }
  Header header;
  header.type = type;
  header.length = body.size();
  header.descriptors = static_cast<std::uint8_t>(descriptors.size());
  UniqueFd file;
  if (body.size() > kMostInline) {
    auto written = write_file(body);
    if (!written) {
      return tl::make_unexpected(std::move(written.error()));
    }
    file = *std::move(written);
    header.in_file = 1;
    body = {};
  }
  std::array<int, kMostPassed> passed{};
  std::size_t count = 0;
  if (file) {
    passed[count++] = file.get();
  }
  count = static_cast<std::size_t>(std::ranges::copy(descriptors, passed.begin() + count).out -
                                   passed.begin());
  std::array<iovec, 2> parts{iovec{&header, sizeof(header)},
                             iovec{const_cast<char*>(body.data()), body.size()}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostPassed * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (count != 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    auto* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), passed.data(), count * sizeof(int));
  }
  if (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
    return true;
  }
  // Too many descriptors on their way (ETOOMANYREFS) is no room, too.
  if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ETOOMANYREFS) {
    return false;
  }
  return fail_errno(errno == ECONNRESET ? EPIPE : errno, "send to the other process");
}

Result<std::optional<Frame>> Socket::receive() const {
  std::string bytes(sizeof(Header) + kMostInline, '\0');
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostPassed * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto size = ::recvmsg(fd_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (size < 0) {
    if (errno == EAGAIN || errno == EINTR) {
      return std::nullopt;
    }
    return fail_errno(errno, "hear from the other process");
  }
  auto descriptors = take_descriptors(message);
  if (size == 0) {
    return fail(ErrorCode::unavailable, "the other process has closed the channel");
  }
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return broken("it is longer than a message may be");
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return broken("not all of its descriptors arrived (is there a limit on open files?)");
  }
  bytes.resize(static_cast<std::size_t>(size));
  auto frame = frame_of(bytes, std::move(descriptors));
  if (!frame) {
    return tl::make_unexpected(std::move(frame.error()));
  }
  return std::optional<Frame>(*std::move(frame));
}

}  // namespace metatap::channel
