// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace metatap {

/// What one process may be asked to show of itself. The registry behind the admin socket asks;
/// where the data plane is another process, the channel carries the question. Each is answered in
/// JSON.
enum class View : std::uint8_t {
  status,    ///< an object of sections, as `metatap status` has them
  metrics,   ///< Prometheus' text, as one string
  findings,  ///< a list of what `metatap doctor` says
  ports,     ///< a list of rows, each with the id of its "port"
  problems,  ///< a string of sentences, a line each: /healthz
  unready,   ///< the same, of what makes guests go unserved: /readyz
  port,      ///< of one port, by its id: all that is known
  explain,   ///< of one port, by its id: what would become of its guest's packets
};

}  // namespace metatap
