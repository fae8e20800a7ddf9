// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "http/overload.hpp"

namespace metatap::http {

/// N threads, each running an io_context of its own; nothing moves between them. Together they have
/// the budget of the process.
/// start(), stop() and join() belong to one owner thread; at() and run_on() may be called anywhere.
class Workers {
 public:
  explicit Workers(unsigned count, const OverloadLimits& limits = {});
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers();  ///< stop() and join()

  void start();
  /// Lets every loop return after its current handler; what is pending stays pending.
  void stop();
  void join();

  /// Which worker the calling thread is; 0 where it is none.
  [[nodiscard]] static unsigned here();

  [[nodiscard]] const std::shared_ptr<Overload>& overload() const { return overload_; }
  [[nodiscard]] unsigned size() const { return static_cast<unsigned>(loops_.size()); }
  [[nodiscard]] boost::asio::io_context& at(unsigned index) {
    return loops_[index % loops_.size()]->context;
  }

  /// Runs `task` on that worker's thread and returns when it is done. Called in place when we are
  /// on that thread already or it does not run (not started, or joined).
  void run_on(unsigned index, const std::function<void()>& task);

 private:
  struct Loop {
    boost::asio::io_context context{1};  // one thread runs it
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work;
    std::thread thread;
  };
  std::shared_ptr<Overload> overload_;
  std::vector<std::unique_ptr<Loop>> loops_;
};

}  // namespace metatap::http
