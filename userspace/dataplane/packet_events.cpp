// SPDX-License-Identifier: Apache-2.0
#include "dataplane/packet_events.hpp"

#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>

namespace metatap::dataplane {

void PacketEvents::Free::operator()(ring_buffer* ring) const {
  ring_buffer__free(ring);
}

Result<PacketEvents> PacketEvents::open(const Programs& programs) {
  PacketEvents events(programs);
  events.ring_.reset(
      ring_buffer__new(programs.map("mt_events"), &take, events.reader_.get(), nullptr));
  if (!events.ring_) {
    return fail_errno(errno, "read mt_events");
  }
  constexpr std::size_t kAll = 1U << 20U;
  events.read([](const mt_event&) {}, kAll);
  return events;
}

/// Programs of an older version may have written events of another size.
int PacketEvents::take(void* reader, void* data, std::size_t size) {
  auto& its = *static_cast<Reader*>(reader);
  if (size == sizeof(mt_event)) {
    mt_event event;
    std::memcpy(&event, data, sizeof(event));
    (*its.use)(event);
  }
  constexpr int kEnough = -ECANCELED;
  return --its.left == 0 ? kEnough : 0;
}

void PacketEvents::read(const std::function<void(const mt_event&)>& use, std::size_t most) {
  *reader_ = {&use, most};
  (void)ring_buffer__consume(ring_.get());
  reader_->use = nullptr;
}

std::uint64_t PacketEvents::lost() const {
  return programs_.events_lost();
}

}  // namespace metatap::dataplane
