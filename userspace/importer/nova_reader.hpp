// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "importer/questions.hpp"
#include "importer/tables.hpp"
#include "metatap/result.hpp"

namespace metatap::importer {

/// Servers, as Nova has them, each with its key's bytes as far as Nova tells them.
class NovaReader {
 public:
  /// The newest microversion whose answers we know; an older Nova's newest is asked for.
  static constexpr int kNewest = 96;

  /// `own_project`: the credential's alone; else all projects', which takes an administrator.
  NovaReader(Questions questions, bool own_project, KnownKeys& keys, Say say)
      : questions_(std::move(questions)),
        own_project_(own_project),
        keys_(keys),
        say_(std::move(say)) {}

  /// Puts in place all there are. After an error the table is as before.
  [[nodiscard]] boost::asio::awaitable<Status> all(Tables& into);
  /// Follows what has changed since it was asked last (changes-since), deleted servers included.
  [[nodiscard]] boost::asio::awaitable<Status> changes(Tables& into);

  // What Nova did not tell of those that are in the table.
  [[nodiscard]] std::size_t without_user_data() const { return without_user_data_.size(); }
  /// "USER/NAME" of keys.
  [[nodiscard]] std::vector<std::string> keys_not_told() const;
  /// Servers of a cell that does not answer, of which Nova knows the id alone: they are as they
  /// were before, or left out.
  [[nodiscard]] const std::set<std::string>& partial() const { return partial_; }

 private:
  [[nodiscard]] boost::asio::awaitable<Status> choose_microversion();
  /// Reduced to what the inventory takes, `status` and, in `addresses`, the MACs. Those whose user
  /// data is not told are put in `hidden`.
  [[nodiscard]] boost::asio::awaitable<Result<std::vector<Json>>> servers(
      std::string since, std::set<std::string>& hidden);
  /// Puts in what is found elsewhere.
  [[nodiscard]] boost::asio::awaitable<Status> complete(Json& server);
  [[nodiscard]] boost::asio::awaitable<Status> put_key(Json& server);
  [[nodiscard]] boost::asio::awaitable<Status> put_flavor(Json& server);
  void forget(const std::string& id);
  void note_hidden(const std::set<std::string>& hidden, const Table& servers);

  Questions questions_;
  const bool own_project_;
  KnownKeys& keys_;
  Say say_;
  int microversion_ = 1;  ///< 2.N
  std::string since_;
  std::set<std::string> without_user_data_, partial_;
  /// By user and name; null: Nova does not tell. Kept until all is read anew.
  std::map<std::pair<std::string, std::string>, Json> keypairs_;
  std::map<std::string, std::string> flavors_;  ///< names by id
};

}  // namespace metatap::importer
