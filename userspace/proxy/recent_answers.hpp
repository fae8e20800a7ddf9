// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "ledger/record.hpp"

namespace metatap::proxy {

/// The last answers to the guest that has a port now, for that guest to read. When another gets the
/// port none is left, and what is still told of the former one's requests is not taken. Memory is
/// used as answers come. Thread-safe.
class RecentAnswers {
 public:
  static constexpr std::size_t kMost = 64;

  /// Another guest has the port, of that number; 0: nobody knows who, and nothing is kept.
  void begin(std::uint32_t tenancy);
  /// `tenancy`: the number of the guest whose request it was.
  void add(const ledger::Answer& answer, std::uint32_t tenancy);

  struct List {
    std::vector<ledger::Answer> answers;  ///< the oldest first
    std::uint64_t older = 0;              ///< so many before them are not kept any more
    std::int64_t since = 0;               ///< when it was begun; milliseconds of CLOCK_BOOTTIME
  };
  [[nodiscard]] List list() const;

 private:
  mutable std::mutex mutex_;
  std::vector<ledger::Answer>
      answers_;  ///< at kMost of them, the next one takes the oldest's place
  std::uint64_t count_ = 0;
  std::int64_t since_ = 0;
  std::uint32_t tenancy_ = 0;
};

}  // namespace metatap::proxy
