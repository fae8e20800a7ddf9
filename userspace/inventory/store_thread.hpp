// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

namespace metatap {

/// A thread for what may keep its caller waiting, a database or a file: tasks run there one after
/// the other, in the order in which they were given. Thread-safe, but for the end.
class StoreThread {
 public:
  using Task = std::function<void()>;

  explicit StoreThread(std::string name);  ///< of at most 15 bytes
  ~StoreThread();                          ///< stop(), with a second of patience
  StoreThread(const StoreThread&) = delete;
  StoreThread& operator=(const StoreThread&) = delete;

  void run(Task task);
  /// What has not begun never runs. What runs has so long to end; then it is left to itself, with
  /// all it holds.
  void stop(std::chrono::milliseconds patience);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  std::thread thread_;
};

}  // namespace metatap
