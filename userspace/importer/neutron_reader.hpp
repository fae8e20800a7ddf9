// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <set>
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
  /// A Neutron that filters by no stamp (`filter_validation`, its default) is asked for all.
  [[nodiscard]] boost::asio::awaitable<Status> changes(Tables& into);

 private:
  struct Changes {
    Table changed;
    std::set<std::string> there;  ///< ids of all there are
  };
  [[nodiscard]] Trim trim_of(const char* table);
  [[nodiscard]] boost::asio::awaitable<Result<Changes>> changes_of(const char* table);

  Questions questions_;
  KnownKeys& keys_;
  Say say_;
  std::string since_;            ///< for changed_since
  bool filters_by_time_ = true;  ///< until it refuses to; tried anew when all is read
};

}  // namespace metatap::importer
