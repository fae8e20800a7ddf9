// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace metatap {

/// Objects by id, in the order of ids, used like a std::map of which the entries are read only.
/// Copies share all they have in common: a copy, a change of one object and the comparison of two
/// copies cost the same at a hundred objects and at a hundred thousand. (Ids are kept apart by
/// their first two characters; with UUIDs that makes up to 256 shares. Ids that all begin alike
/// lose the speed, nothing else.)
///
/// As with standard containers: many threads may read one table, only one may change it. Copies are
/// independent of each other.
template <class T>
class Table {
 public:
  using key_type = std::string;
  using mapped_type = std::shared_ptr<const T>;

 private:
  using Share = std::map<std::string, mapped_type, std::less<>>;
  using Shares = std::map<std::uint16_t, std::shared_ptr<Share>>;

 public:
  using value_type = typename Share::value_type;

  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Table::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    reference operator*() const { return *entry_; }
    pointer operator->() const { return &*entry_; }
    const_iterator& operator++() {
      if (++entry_ == share_->second->end() && ++share_ != end_) {
        entry_ = share_->second->begin();
      }
      return *this;
    }
    const_iterator operator++(int) {
      auto before = *this;
      ++*this;
      return before;
    }
    bool operator==(const const_iterator& other) const {
      return share_ == other.share_ && (share_ == end_ || entry_ == other.entry_);
    }

   private:
    friend class Table;
    using Outer = typename Shares::const_iterator;
    using Inner = typename Share::const_iterator;
    const_iterator(Outer share, Outer end) : share_(share), end_(end) {
      if (share_ != end_) {
        entry_ = share_->second->begin();
      }
    }
    const_iterator(Outer share, Outer end, Inner entry) : share_(share), end_(end), entry_(entry) {}

    Outer share_, end_;
    Inner entry_;
  };
  using iterator = const_iterator;

  [[nodiscard]] const_iterator begin() const { return {shares_.begin(), shares_.end()}; }
  [[nodiscard]] const_iterator end() const { return {shares_.end(), shares_.end()}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  [[nodiscard]] const_iterator find(std::string_view id) const {
    const auto share = shares_.find(prefix(id));
    if (share == shares_.end()) {
      return end();
    }
    const auto entry = share->second->find(id);
    return entry == share->second->end() ? end() : const_iterator(share, shares_.end(), entry);
  }
  [[nodiscard]] bool contains(std::string_view id) const { return find(id) != end(); }
  [[nodiscard]] const mapped_type& at(std::string_view id) const {
    const auto found = find(id);
    if (found == end()) {
      throw std::out_of_range("no such object: " + std::string(id));
    }
    return found->second;
  }

  /// Made empty where it was not there. The reference is good until the table is copied or changed.
  mapped_type& operator[](std::string_view id) {
    Share& share = own(prefix(id));
    const auto [entry, fresh] = share.try_emplace(std::string(id));
    size_ += fresh ? 1 : 0;
    return entry->second;
  }
  void insert_or_assign(std::string_view id, mapped_type object) {
    (*this)[id] = std::move(object);
  }
  /// False: there is one of that id already; it stays.
  bool emplace(std::string_view id, mapped_type object) {
    if (contains(id)) {
      return false;
    }
    insert_or_assign(id, std::move(object));
    return true;
  }
  std::size_t erase(std::string_view id) {
    if (!contains(id)) {
      return 0;
    }
    const auto key = prefix(id);
    Share& share = own(key);
    share.erase(share.find(id));
    if (share.empty()) {
      shares_.erase(key);
    }
    --size_;
    return 1;
  }
  /// The entry must be there.
  void erase(const const_iterator& entry) { erase(std::string(entry->first)); }
  void clear() {
    shares_.clear();
    size_ = 0;
  }

  /// Calls `visit(id, before, after)` for each id of which the objects are not the same one; null
  /// where a table has none. What the two share is not even looked at.
  template <class F>
  friend void for_each_difference(const Table& before, const Table& after, F&& visit) {
    merge(
        before.shares_, after.shares_, [](const auto& a, const auto& b) { return a == b; },
        [&](std::uint16_t, const std::shared_ptr<Share>* a, const std::shared_ptr<Share>* b) {
          static const Share kNone;
          merge(
              a != nullptr ? **a : kNone, b != nullptr ? **b : kNone,
              [](const auto& x, const auto& y) { return x == y; },
              [&](const std::string& id, const mapped_type* x, const mapped_type* y) {
                visit(id, x != nullptr ? x->get() : nullptr, y != nullptr ? y->get() : nullptr);
              });
        });
  }

 private:
  static std::uint16_t prefix(std::string_view id) {
    const auto byte = [&](std::size_t at) -> unsigned {
      return at < id.size() ? static_cast<unsigned char>(id[at]) : 0U;
    };
    return static_cast<std::uint16_t>(byte(0) << 8U | byte(1));
  }

  /// The share to change: made, or copied first if others have it too.
  Share& own(std::uint16_t key) {
    auto& share = shares_[key];
    if (!share) {
      share = std::make_shared<Share>();
    } else if (share.use_count() > 1) {
      share = std::make_shared<Share>(*share);
    } else {
      // Whoever had it last may have read it on another thread.
      std::atomic_thread_fence(std::memory_order_acquire);
    }
    return *share;
  }

  /// Goes through two sorted maps at once, past what is equal.
  template <class Map, class Equal, class F>
  static void merge(const Map& before, const Map& after, Equal&& equal, F&& visit) {
    auto a = before.begin();
    auto b = after.begin();
    while (a != before.end() || b != after.end()) {
      if (b == after.end() || (a != before.end() && a->first < b->first)) {
        visit(a->first, &a->second, static_cast<decltype(&a->second)>(nullptr));
        ++a;
      } else if (a == before.end() || b->first < a->first) {
        visit(b->first, static_cast<decltype(&b->second)>(nullptr), &b->second);
        ++b;
      } else {
        if (!equal(a->second, b->second)) {
          visit(a->first, &a->second, &b->second);
        }
        ++a;
        ++b;
      }
    }
  }

  Shares shares_;
  std::size_t size_ = 0;
};

}  // namespace metatap
