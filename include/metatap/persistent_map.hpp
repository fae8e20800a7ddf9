// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace metatap {

/// Where a PersistentMap keeps a key: a tree of two levels, the way down it named by two digits.
using Digits = std::array<std::uint8_t, 2>;

/// By the key's first two characters: the map is in the order of its keys. UUIDs make up to 256
/// leaves of that. Keys that all begin alike share a leaf, and then a change costs more.
struct InOrder {
  template <class Value>
  using Leaf = std::map<std::string, Value, std::less<>>;

  static Digits digits(std::string_view key) {
    const auto byte = [&](std::size_t at) {
      return static_cast<std::uint8_t>(at < key.size() ? key[at] : '\0');
    };
    return {byte(0), byte(1)};
  }
};

/// By a hash, which spreads keys evenly however alike they are, over 1024 leaves. In no order.
struct ByHash {
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const {
      return std::hash<std::string_view>()(key);
    }
  };
  template <class Value>
  using Leaf = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

  static Digits digits(std::string_view key) {
    const auto hash = Hash()(key);
    return {static_cast<std::uint8_t>(hash & 31U), static_cast<std::uint8_t>(hash >> 5U & 31U)};
  }
};

/// A map from strings of which the copies share all they have in common: a copy, a change of one
/// entry and the comparison of two copies cost about the same at a hundred entries and at a hundred
/// thousand. Used like a std::map of which the entries are read only.
///
/// As with standard containers: many threads may read one map, only one may change it. Copies are
/// independent of each other.
template <class Value, class Spread>
class PersistentMap {
 public:
  using key_type = std::string;
  using mapped_type = Value;

 private:
  using Leaf = typename Spread::template Leaf<Value>;

  /// Children by digit; only those that are there take room.
  template <class Child>
  class Node {
   public:
    [[nodiscard]] bool has(std::uint8_t digit) const {
      return (present_[digit / 64U] >> digit % 64U & 1U) != 0;
    }
    [[nodiscard]] const Child* find(std::uint8_t digit) const {
      return has(digit) ? children_[rank(digit)].get() : nullptr;
    }
    /// How many children have a lower digit.
    [[nodiscard]] std::size_t rank(std::uint8_t digit) const {
      const std::size_t word = digit / 64U;
      int lower = std::popcount(present_[word] & ((std::uint64_t{1} << digit % 64U) - 1));
      for (std::size_t i = 0; i < word; ++i) {
        lower += std::popcount(present_[i]);
      }
      return static_cast<std::size_t>(lower);
    }
    [[nodiscard]] std::size_t size() const { return children_.size(); }
    [[nodiscard]] const Child& at(std::size_t index) const { return *children_[index]; }

    /// The child to change: made, or copied first if other maps have it too.
    Child& own(std::uint8_t digit) {
      const auto place = children_.begin() + static_cast<std::ptrdiff_t>(rank(digit));
      if (!has(digit)) {
        present_[digit / 64U] |= std::uint64_t{1} << digit % 64U;
        return **children_.insert(place, std::make_shared<Child>());
      }
      if (place->use_count() > 1) {
        *place = std::make_shared<Child>(**place);
      } else {
        // Whoever had it last may have read it on another thread.
        std::atomic_thread_fence(std::memory_order_acquire);
      }
      return **place;
    }
    void drop(std::uint8_t digit) {
      children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(rank(digit)));
      present_[digit / 64U] &= ~(std::uint64_t{1} << digit % 64U);
    }

    /// Calls `visit` with both children of each digit where they are not the same one; null where a
    /// node has none, or is none.
    template <class F>
    static void for_each_difference(const Node* before, const Node* after, F&& visit) {
      for (std::size_t word = 0; word < kWords; ++word) {
        auto left = (before != nullptr ? before->present_[word] : 0) |
                    (after != nullptr ? after->present_[word] : 0);
        for (; left != 0; left &= left - 1) {
          const auto digit = static_cast<std::uint8_t>(word * 64 + std::countr_zero(left));
          const Child* a = before != nullptr ? before->find(digit) : nullptr;
          const Child* b = after != nullptr ? after->find(digit) : nullptr;
          if (a != b) {
            visit(a, b);
          }
        }
      }
    }

   private:
    static constexpr std::size_t kWords = 4;
    std::array<std::uint64_t, kWords> present_{};  ///< a bit for each digit
    std::vector<std::shared_ptr<Child>> children_;
  };
  using Branch = Node<Leaf>;
  using Root = Node<Branch>;

 public:
  using value_type = typename Leaf::value_type;

  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = PersistentMap::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    reference operator*() const { return *entry_; }
    pointer operator->() const { return &*entry_; }
    const_iterator& operator++() {
      if (++entry_ == root_->at(branch_).at(leaf_).end()) {
        if (++leaf_ == root_->at(branch_).size()) {
          leaf_ = 0;
          ++branch_;
        }
        enter();
      }
      return *this;
    }
    const_iterator operator++(int) {
      auto before = *this;
      ++*this;
      return before;
    }
    bool operator==(const const_iterator& other) const {
      return branch_ == other.branch_ && (root_ == nullptr || branch_ == root_->size() ||
                                          (leaf_ == other.leaf_ && entry_ == other.entry_));
    }

   private:
    friend class PersistentMap;
    const_iterator(const Root& root, std::size_t branch) : root_(&root), branch_(branch) {
      enter();
    }
    const_iterator(const Root& root, std::size_t branch, std::size_t leaf,
                   typename Leaf::const_iterator entry)
        : root_(&root), branch_(branch), leaf_(leaf), entry_(entry) {}
    void enter() {
      if (branch_ < root_->size()) {
        entry_ = root_->at(branch_).at(leaf_).begin();
      }
    }

    const Root* root_ = nullptr;
    std::size_t branch_ = 0, leaf_ = 0;
    typename Leaf::const_iterator entry_;
  };
  using iterator = const_iterator;

  [[nodiscard]] const_iterator begin() const { return {root_, 0}; }
  [[nodiscard]] const_iterator end() const { return {root_, root_.size()}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  /// nullptr: no such key. Good until the map is changed.
  [[nodiscard]] const Value* get(std::string_view key) const {
    const Leaf* leaf = leaf_of(Spread::digits(key));
    if (leaf == nullptr) {
      return nullptr;
    }
    const auto entry = leaf->find(key);
    return entry == leaf->end() ? nullptr : &entry->second;
  }
  [[nodiscard]] const_iterator find(std::string_view key) const {
    const auto digits = Spread::digits(key);
    if (const Leaf* leaf = leaf_of(digits)) {
      if (const auto entry = leaf->find(key); entry != leaf->end()) {
        const auto branch = root_.rank(digits[0]);
        return {root_, branch, root_.at(branch).rank(digits[1]), entry};
      }
    }
    return end();
  }
  [[nodiscard]] bool contains(std::string_view key) const { return get(key) != nullptr; }
  [[nodiscard]] const Value& at(std::string_view key) const {
    const Value* found = get(key);
    if (found == nullptr) {
      throw std::out_of_range("no such object: " + std::string(key));
    }
    return *found;
  }

  /// Made empty where it was not there. The reference is good until the map is copied or changed.
  Value& operator[](std::string_view key) {
    const auto digits = Spread::digits(key);
    Leaf& leaf = root_.own(digits[0]).own(digits[1]);
    if (const auto known = leaf.find(key); known != leaf.end()) {
      return known->second;
    }
    ++size_;
    return leaf.try_emplace(std::string(key)).first->second;
  }
  void insert_or_assign(std::string_view key, Value value) { (*this)[key] = std::move(value); }
  /// False: there is one of that key already; it stays.
  bool emplace(std::string_view key, Value value) {
    if (contains(key)) {
      return false;
    }
    insert_or_assign(key, std::move(value));
    return true;
  }
  std::size_t erase(std::string_view key) {
    if (!contains(key)) {
      return 0;
    }
    const auto digits = Spread::digits(key);
    Branch& branch = root_.own(digits[0]);
    Leaf& leaf = branch.own(digits[1]);
    leaf.erase(leaf.find(key));
    if (leaf.empty()) {
      branch.drop(digits[1]);
    }
    if (branch.size() == 0) {
      root_.drop(digits[0]);
    }
    --size_;
    return 1;
  }
  /// The entry must be there.
  void erase(const const_iterator& entry) { erase(std::string(entry->first)); }
  void clear() { *this = {}; }

  /// For a map of pointers in order: calls `visit(key, before, after)` for each key of which the
  /// objects are not the same one; null where a map has none. What the two share is not even looked
  /// at.
  template <class F>
  friend void for_each_difference(const PersistentMap& before, const PersistentMap& after,
                                  F&& visit) {
    Root::for_each_difference(&before.root_, &after.root_, [&](const Branch* a, const Branch* b) {
      Branch::for_each_difference(a, b, [&](const Leaf* x, const Leaf* y) {
        static const Leaf kNone;
        merge(x != nullptr ? *x : kNone, y != nullptr ? *y : kNone, visit);
      });
    });
  }

 private:
  [[nodiscard]] const Leaf* leaf_of(Digits digits) const {
    const Branch* branch = root_.find(digits[0]);
    return branch == nullptr ? nullptr : branch->find(digits[1]);
  }

  /// Goes through two leaves at once, past the objects they have in common.
  template <class F>
  static void merge(const Leaf& before, const Leaf& after, F& visit) {
    auto a = before.begin();
    auto b = after.begin();
    while (a != before.end() || b != after.end()) {
      if (b == after.end() || (a != before.end() && a->first < b->first)) {
        visit(a->first, a->second.get(), decltype(a->second.get())());
        ++a;
      } else if (a == before.end() || b->first < a->first) {
        visit(b->first, decltype(b->second.get())(), b->second.get());
        ++b;
      } else {
        if (a->second != b->second) {
          visit(a->first, a->second.get(), b->second.get());
        }
        ++a;
        ++b;
      }
    }
  }

  Root root_;
  std::size_t size_ = 0;
};

}  // namespace metatap
