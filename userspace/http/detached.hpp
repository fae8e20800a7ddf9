// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>
#include <vector>

namespace metatap::http {

/// Memory for coroutine frames, kept per thread: there are few kinds of frame, about a kilobyte
/// each, and one is made and dropped with each connection or request.
class Frames {
 public:
  static Frames& local() {
    static thread_local Frames frames;
    return frames;
  }
  ~Frames() {
    for (Shelf& shelf : shelves_) {
      for (void* const frame : shelf.spare) {
        ::operator delete(frame);
      }
    }
  }
  void* take(std::size_t size) {
    Shelf* const shelf = shelf_for(size);
    if (shelf == nullptr || shelf->spare.empty()) {
      return ::operator new(size);
    }
    void* const frame = shelf->spare.back();
    shelf->spare.pop_back();
    return frame;
  }
  void give(void* frame, std::size_t size) noexcept {
    Shelf* const shelf = shelf_for(size);
    if (shelf != nullptr && shelf->spare.size() < kSpare) {
      shelf->spare.push_back(frame);
    } else {
      ::operator delete(frame);
    }
  }

 private:
  static constexpr std::size_t kSpare = 64;
  struct Shelf {
    std::size_t size = 0;
    std::vector<void*> spare;
  };
  Shelf* shelf_for(std::size_t size) noexcept {
    for (Shelf& shelf : shelves_) {
      if (shelf.size == size) {
        return &shelf;
      }
      if (shelf.size == 0) {
        shelf.size = size;
        shelf.spare.reserve(kSpare);  // so that give() cannot throw
        return &shelf;
      }
    }
    return nullptr;
  }
  std::array<Shelf, 4> shelves_;
};

/// A coroutine that owns itself: it runs at once and its frame goes when it is done.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }

    static void* operator new(std::size_t size) { return Frames::local().take(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
      Frames::local().give(frame, size);
    }
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
