// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <string>

#include "admin/registry.hpp"
#include "http/workers.hpp"
#include "metatap/result.hpp"

namespace metatap::admin {

struct AdminOptions {
  std::string socket = "/run/metatap/admin.sock";
  mode_t mode = 0600;  ///< of the socket: who may connect may do everything
  std::string user{}, group{};
  std::string version{};  ///< said in each answer, for a command line of another one
};

/// The admin socket: HTTP on a UNIX socket, for all that the registry holds. Connections live on
/// the given workers, every action runs on the control thread. It answers also when the process has
/// no more descriptors or its budget is used up. Registry, workers and the control thread outlive
/// it.
class AdminServer {
 public:
  AdminServer(http::Workers& workers, boost::asio::any_io_executor control,
              const Registry& registry, AdminOptions options = {});
  ~AdminServer();

  [[nodiscard]] Status start();
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::admin
