// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "importer/known_keys.hpp"
#include "importer/wish.hpp"
#include "metatap/result.hpp"
#include "openstack/service.hpp"

namespace metatap::importer {

/// What a collection is asked for.
struct Collection {
  std::string path;  ///< "servers/detail"
  std::string key;   ///< "servers": of the answer
  std::vector<std::pair<std::string, std::string>> query{};
};

/// Makes less of an object as soon as it has come, so that a large cloud fits into memory.
using Trim = std::function<void(Json&)>;

struct Answer {
  unsigned status = 0;  ///< below 500, and not 429
  std::string body;
};

/// One service, asked patiently: who is busy (429, 5xx) is asked again after a pause, or after what
/// his Retry-After says, a few times. All that is refused becomes a sentence, with what the service
/// itself says of it.
class Questions {
 public:
  /// Objects of a collection; beyond it, it has no end.
  static constexpr std::size_t kMostObjects = 1'000'000;

  Questions(openstack::Service& service, Say say) : service_(service), say_(std::move(say)) {}

  /// `unavailable`: it stays busy, or nobody answers.
  [[nodiscard]] boost::asio::awaitable<Result<Answer>> get(std::string target);
  [[nodiscard]] boost::asio::awaitable<Result<Answer>> version_document();
  /// All pages, each object once, the later one counting; `what` is for the sentences: "ports".
  /// `denied` (401, 403), `not_found` (404), `invalid` (400 and others), `unavailable`: it does not
  /// answer, the answer makes no sense, or its pages do not end.
  [[nodiscard]] boost::asio::awaitable<Result<std::vector<Json>>> all(Collection collection,
                                                                      Trim trim);

  /// In each question from now on; Nova's microversion.
  void use_microversion(std::string version) { microversion_ = std::move(version); }
  /// When the service began to answer what was asked since forget_time(), by its own clock.
  [[nodiscard]] std::optional<std::chrono::system_clock::time_point> began() const {
    return began_;
  }
  void forget_time() { began_.reset(); }

  [[nodiscard]] Error refusal(const Answer& answer, const std::string& what) const;
  [[nodiscard]] std::string title() const { return std::string(service_.kind().title); }
  [[nodiscard]] std::string where() const { return service_.where(); }

 private:
  /// `target` empty: the version document.
  [[nodiscard]] boost::asio::awaitable<Result<Answer>> patiently(std::string target);
  [[nodiscard]] boost::asio::awaitable<Result<Response>> once(const std::string& target);
  /// Of who is busy.
  [[nodiscard]] std::string complaint(const Response& response) const;
  [[nodiscard]] boost::asio::awaitable<Result<std::vector<Json>>> pages(
      const Collection& collection, const Trim& trim, bool& began_over);

  openstack::Service& service_;
  const Say say_;
  std::string microversion_;
  std::optional<std::chrono::system_clock::time_point> began_;
};

}  // namespace metatap::importer
