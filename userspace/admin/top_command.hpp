// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "admin/terminal.hpp"

namespace metatap::admin {

/// What one port did in a while.
struct PortRate {
  std::string port, name;
  double requests = 0;            ///< a second
  double errors = 0;              ///< a second; answers of 400 and more
  std::int64_t p50 = 0, p99 = 0;  ///< microseconds in agent and API
  double bytes = 0;               ///< a second, to and from the guest
  double refused = 0;             ///< packets a second
};

enum class TopOrder : std::uint8_t { requests, errors, p50, p99, bytes, refused };

/// Rates of ports from two rows of `metatap ports`, and from the requests that were seen between
/// them. Values.
class TopMeter {
 public:
  using Json = nlohmann::ordered_json;
  /// A request; of others nothing is counted.
  void note(const Json& line);
  /// So many were not seen: as many more as those that were, in the same proportions.
  void note_lost(std::uint64_t lines) { lost_ += lines; }
  /// What was since the last call, which took so long.
  [[nodiscard]] std::vector<PortRate> rates(const Json& ports, std::chrono::duration<double> time);

 private:
  struct Requests {
    std::vector<std::int64_t> times;
    std::uint64_t errors = 0;
  };
  struct Traffic {
    std::uint64_t bytes = 0, refused = 0;
  };
  std::map<std::string, Requests> requests_;
  std::map<std::string, Traffic> before_;
  std::uint64_t seen_ = 0, lost_ = 0;
};

void sort_by(std::vector<PortRate>& rates, TopOrder order);
/// As many columns and rows as fit; 0: all. The first column names the port, and what is sorted by
/// comes next.
[[nodiscard]] std::string top_text(const std::vector<PortRate>& rates, TopOrder order,
                                   unsigned columns, unsigned rows);

/// `metatap top`: again and again until q or a signal, or `rounds` times (0: no bound). Keys:
/// r requests, e errors, 5 p50, 9 p99, b bytes, d refused. Not on a terminal: one table after the
/// other.
[[nodiscard]] Exit top(const Terminal& terminal, std::uint64_t rounds);

}  // namespace metatap::admin
