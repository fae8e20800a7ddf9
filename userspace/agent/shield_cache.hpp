// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/kept_answer.hpp"

namespace metatap::agent {

/// Whose answer, and to what.
struct AnswerKey {
  std::string instance;  ///< with its project
  std::string question;  ///< address and target

  /// Of a request as the agent sends it to the API.
  static AnswerKey of(const Request& request);
  bool operator==(const AnswerKey&) const = default;
};

struct AnswerKeyHash {
  std::size_t operator()(const AnswerKey& key) const {
    const std::hash<std::string> hash;
    return hash(key.instance) * 31 + hash(key.question);
  }
};

/// The API's last good answers. Bounded in bytes, and in number for an instance: what was used
/// longest ago goes first, of the instance's own where it has too many. Not thread-safe.
class ShieldCache {
 public:
  static constexpr std::size_t kMostOfInstance = 64;

  struct Entry {
    AnswerKey key;
    KeptAnswer answer;
    std::int64_t since;  ///< when the API was asked, in milliseconds
  };

  explicit ShieldCache(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  /// Null: there is none. What it points to stays as it is.
  [[nodiscard]] std::shared_ptr<const Entry> find(const AnswerKey& key);
  void put(AnswerKey key, KeptAnswer answer, std::int64_t since);
  void erase(const AnswerKey& key);

  /// Whether there is anything of an instance (AnswerKey::instance).
  [[nodiscard]] bool knows(const std::string& instance) const {
    return of_instance_.contains(instance);
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return places_.size(); }

 private:
  using Entries = std::list<std::shared_ptr<const Entry>>;  // the latest used first

  void drop(Entries::iterator entry);
  void drop_one_of(const std::string& instance);

  const std::size_t most_bytes_;
  std::size_t bytes_ = 0;
  Entries entries_;
  std::unordered_map<AnswerKey, Entries::iterator, AnswerKeyHash> places_;
  std::unordered_map<std::string, std::size_t> of_instance_;
};

}  // namespace metatap::agent
