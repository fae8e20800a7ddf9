// SPDX-License-Identifier: Apache-2.0
#include "dataplane/learned_addresses.hpp"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>

namespace metatap::dataplane {
namespace {

struct Question {
  std::uint64_t number = 0;
  std::uint32_t slot = 0, generation = 0, index = 0;
  std::int32_t family = 0;
};
struct Answer {
  std::uint64_t number = 0;
  std::int32_t family = 0;  ///< 0: nobody knows
  std::array<std::uint8_t, 16> bytes{};
  std::uint32_t pad = 0;
};
static_assert(sizeof(Question) == 24 && sizeof(Answer) == 32);

constexpr timeval kPatience{0, 100'000};

bool possible(const Question& question) {
  return question.slot <= MT_ALIAS_SLOT_MASK && question.generation <= MT_ALIAS_GENERATION_MASK &&
         question.index <= MT_ALIAS_INDEX_MASK &&
         (question.family == AF_INET || question.family == AF_INET6);
}

}  // namespace

Result<std::unique_ptr<LearnedAddressServer>> LearnedAddressServer::start(
    std::shared_ptr<const SlotTable> slots) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno(errno, "make a channel for learned addresses");
  }
  return std::unique_ptr<LearnedAddressServer>(
      new LearnedAddressServer(std::move(slots), UniqueFd(ends[0]), UniqueFd(ends[1])));
}

LearnedAddressServer::LearnedAddressServer(std::shared_ptr<const SlotTable> slots, UniqueFd ours,
                                           UniqueFd theirs)
    : slots_(std::move(slots)), ours_(std::move(ours)), theirs_(std::move(theirs)) {
  thread_ = std::thread([this] { serve(); });
}

LearnedAddressServer::~LearnedAddressServer() {
  ::shutdown(ours_.get(), SHUT_RDWR);
  thread_.join();
}

void LearnedAddressServer::serve() const {
  Question question;
  // What is no question is from nobody who will get an answer.
  while (::recv(ours_.get(), &question, sizeof(question), 0) == sizeof(question)) {
    Answer answer{.number = question.number};
    if (possible(question)) {
      if (const auto address = slots_->address_of(
              {question.slot, question.generation, question.index}, question.family)) {
        answer.family = address->family;
        answer.bytes = address->bytes;
      }
    }
    // Who does not read its answers does not get them.
    (void)::send(ours_.get(), &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

RemoteLearnedAddresses::RemoteLearnedAddresses(UniqueFd fd) : fd_(std::move(fd)) {
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof(kPatience));
}

std::optional<Address> RemoteLearnedAddresses::address_of(const Alias& alias, int family) const {
  const std::scoped_lock lock(asking_);
  const Question question{++questions_, alias.slot, alias.generation, alias.index, family};
  if (::send(fd_.get(), &question, sizeof(question), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    const bool nobody = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN;
    return nobody ? std::optional(Address{family, {}}) : std::nullopt;
  }
  Answer answer;
  do {  // those that came too late for an earlier question are left behind
    if (::recv(fd_.get(), &answer, sizeof(answer), 0) != sizeof(answer)) {
      return std::nullopt;
    }
  } while (answer.number != question.number);
  if (answer.family == 0) {
    return std::nullopt;
  }
  return Address{answer.family, answer.bytes};
}

}  // namespace metatap::dataplane
