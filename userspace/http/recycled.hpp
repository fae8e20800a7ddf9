// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <new>
#include <vector>

namespace metatap::http {

/// Memory for what is made and dropped with each connection or request, kept per thread: coroutine
/// frames and the objects that wait for something. There are few kinds, about a kilobyte each.
class RecycledMemory {
 public:
  static RecycledMemory& local() {
    static thread_local RecycledMemory memory;
    return memory;
  }
  ~RecycledMemory() {
    for (Shelf& shelf : shelves_) {
      for (void* const piece : shelf.spare) {
        ::operator delete(piece);
      }
    }
  }
  void* take(std::size_t size) {
    Shelf* const shelf = shelf_for(size);
    if (shelf == nullptr || shelf->spare.empty()) {
      return ::operator new(size);
    }
    void* const piece = shelf->spare.back();
    shelf->spare.pop_back();
    return piece;
  }
  void give(void* piece, std::size_t size) noexcept {
    Shelf* const shelf = shelf_for(size);
    if (shelf != nullptr && shelf->spare.size() < kSpare) {
      shelf->spare.push_back(piece);
    } else {
      ::operator delete(piece);
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
  std::array<Shelf, 8> shelves_;
};

/// An object in recycled memory.
class Recycled {
 public:
  static void* operator new(std::size_t size) { return RecycledMemory::local().take(size); }
  static void operator delete(void* object, std::size_t size) noexcept {
    RecycledMemory::local().give(object, size);
  }

 protected:
  ~Recycled() = default;
};

}  // namespace metatap::http
