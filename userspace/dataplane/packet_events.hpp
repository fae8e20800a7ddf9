// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "dataplane/programs.hpp"
#include "metatap/abi/abi.h"
#include "metatap/result.hpp"

struct ring_buffer;

namespace metatap::dataplane {

/// The reading end of mt_events. Programs never wait for it: what finds no room is lost, and
/// counted. Control thread.
class PacketEvents {
 public:
  /// What an earlier process left in it is thrown away.
  static Result<PacketEvents> open(const Programs& programs);

  /// Hands over what is there now, `most` of it at once.
  void read(const std::function<void(const mt_event&)>& use, std::size_t most);
  /// So many found no room since the programs were loaded.
  [[nodiscard]] std::uint64_t lost() const;

 private:
  struct Reader {
    const std::function<void(const mt_event&)>* use = nullptr;
    std::size_t left = 0;
  };
  struct Free {
    void operator()(ring_buffer* ring) const;
  };
  explicit PacketEvents(const Programs& programs) : programs_(programs) {}
  static int take(void* reader, void* data, std::size_t size);

  const Programs& programs_;
  std::unique_ptr<Reader> reader_ = std::make_unique<Reader>();
  std::unique_ptr<ring_buffer, Free> ring_;
};

}  // namespace metatap::dataplane
