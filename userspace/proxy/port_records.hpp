// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "metatap/counters.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::proxy {

/// What is remembered of a port over restarts of ours: since when it is there, whether its guest
/// has shown a token, what it has read for the only time, and how it asked. `came` and
/// `first_token`: milliseconds of CLOCK_BOOTTIME. Written by any worker, also by the one that is
/// being replaced, and begun anew while others read it.
struct PortRecord {
  std::array<char, 40> port;          ///< id; empty: nobody's; of whoever looks for a record alone
  std::atomic<std::uint64_t> plug;    ///< Origin::plug
  std::atomic<std::uint64_t> tenant;  ///< whose the port is; 0: not known yet
  std::atomic<std::int64_t> came;
  std::atomic<std::int64_t> first_token;  ///< 0: none yet
  /// Numbers of what was read of that which is answered once; 0: a free place.
  std::array<std::atomic<std::uint64_t>, 16> read;
  AccessCounts<std::atomic<std::uint64_t>> counts;
};

/// The records of all ports, in a file that is mapped: what is noted there outlives the process in
/// the same instant, without a system call, and a worker and its successor see the same. It is of
/// one boot of the host; that of another is begun anew. Thread-safe.
///
/// Who may write the file may have his guests' windows longer: it is in `run_path`, where others
/// put nothing in the place of what is ours.
class PortRecords {
 public:
  /// Takes what an earlier process left, or makes it; what another layout or boot left goes, and
  /// stays with who has it mapped. ErrorCode::denied: it is not ours.
  static Result<PortRecords> open(const std::filesystem::path& file, std::string_view boot);
  PortRecords(PortRecords&& other) noexcept;
  PortRecords& operator=(PortRecords&&) = delete;
  ~PortRecords();

  /// The port's record, made or begun anew where it is of another plug or of another tenant. Null:
  /// there is no room. `live`: whether a port is still wanted; others' places are taken when there
  /// is none left.
  [[nodiscard]] PortRecord* at(std::string_view port, std::uint64_t plug, std::uint64_t tenant,
                               std::int64_t came,
                               const std::function<bool(std::string_view)>& live);

  static constexpr std::size_t kMost = 32'768;

 private:
  struct Head;
  struct File;
  /// What stands at a path: nothing yet, ours, another's (layout or boot), or by now another file.
  enum class Standing : std::uint8_t { fresh, known, foreign, gone };
  static Standing look_at(int fd, const std::filesystem::path& path, std::string_view boot);
  static Result<PortRecords> map(UniqueFd fd, std::string_view boot, const std::string& step);
  PortRecords(UniqueFd fd, File* file);
  [[nodiscard]] PortRecord* find(std::string_view port);
  [[nodiscard]] PortRecord* make(const std::function<bool(std::string_view)>& live);

  UniqueFd fd_;
  File* file_ = nullptr;
  std::mutex mutex_;
  std::unordered_map<std::string, std::size_t> places_;
  std::size_t known_ = 0;  ///< so many places are in `places_`
};

/// Begins a record: the port has just come.
void begin(PortRecord& record, std::string_view port, std::uint64_t plug, std::uint64_t tenant,
           std::int64_t came);
/// Whether the record is of that plug and tenant; a tenant that is not known is anybody.
[[nodiscard]] bool goes_on(const PortRecord& record, std::uint64_t plug, std::uint64_t tenant);

/// Of what is answered once: whether it was read, or there is no room to note it if it were.
[[nodiscard]] bool was_read(const PortRecord& record, std::uint64_t subject);
void note_read(PortRecord& record, std::uint64_t subject);

}  // namespace metatap::proxy
