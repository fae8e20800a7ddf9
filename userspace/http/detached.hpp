// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <utility>

#include "http/recycled.hpp"

namespace metatap::http {

/// A coroutine that owns itself: it runs at once and its frame goes when it is done. One that
/// throws, which it should not, is done: what it holds goes, and the log says why (http/spawn.hpp).
struct Detached {
  struct promise_type : Recycled {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept;
  };
};

/// Resumes a coroutine once; destroys it if nobody ever will (its io_context is gone).
class Resumption {
 public:
  explicit Resumption(std::coroutine_handle<> coroutine) : coroutine_(coroutine) {}
  Resumption(Resumption&& other) noexcept : coroutine_(std::exchange(other.coroutine_, {})) {}
  Resumption& operator=(Resumption&&) = delete;
  ~Resumption() {
    if (coroutine_) {
      coroutine_.destroy();
    }
  }
  void operator()() { std::exchange(coroutine_, {}).resume(); }
  void release() { coroutine_ = {}; }

 private:
  std::coroutine_handle<> coroutine_;
};

}  // namespace metatap::http
