// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>

#include "admin/registry.hpp"
#include "http/workers.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::admin {

/// What whoever can connect may see of the registry by TCP, and nothing else: the status page (/),
/// /metrics, /healthz, /readyz, /v1/status, /v1/ports and /v1/doctor. Nothing can be changed here.
///
/// However many ask, each of these is made once a second at most, on the control thread; they share
/// what was made. Connections are few, each address has its fair share of them, and one that does
/// not read is reset after five seconds. Registry, workers and the control thread outlive it.
class MetricsServer {
 public:
  MetricsServer(http::Workers& workers, boost::asio::any_io_executor control,
                const Registry& registry);
  ~MetricsServer();

  /// On a socket that listens already.
  [[nodiscard]] Status listen(const UniqueFd& listening, const std::string& name);
  /// At once.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::admin
