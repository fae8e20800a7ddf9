// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>

#include "importer/questions.hpp"
#include "importer/tables.hpp"
#include "metatap/result.hpp"

namespace metatap::importer {

/// Networks, subnets, routers and ports, as Neutron has them.
class NeutronReader {
 public:
  NeutronReader(Questions questions, KnownKeys& keys, Say say)
      : questions_(std::move(questions)), keys_(keys), say_(std::move(say)) {}

  /// Puts in place all there are. After an error the tables are as before.
  [[nodiscard]] boost::asio::awaitable<Status> all(Tables& into);
  /// Follows what has changed since it was asked last: what Neutron has changed by its own stamps
  /// (changed_since), and, as it does not tell of what is gone, whose ids are not there any more.
  [[nodiscard]] boost::asio::awaitable<Status> changes(Tables& into);

 private:
  [[nodiscard]] Trim trim_of(const char* table);

  Questions questions_;
  KnownKeys& keys_;
  Say say_;
  std::string since_;  ///< for changed_since
};

}  // namespace metatap::importer
