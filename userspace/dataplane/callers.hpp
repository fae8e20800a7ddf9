// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "dataplane/alias.hpp"
#include "dataplane/caller_table.hpp"
#include "metatap/origin.hpp"

namespace metatap::dataplane {

class AddressResolver;

/// The address behind an alias that no configuration gives: a guest's own choice, which only the
/// programs' maps know. Any thread; it takes a system call or a question to another process, and is
/// asked only for ports without a fixed address.
class LearnedAddresses {
 public:
  virtual ~LearnedAddresses() = default;
  [[nodiscard]] virtual std::optional<Address> address_of(const Alias& alias, int family) const = 0;
};

/// The reading side of who is who: makes a resolver for each listener by its rule. Resolvers may be
/// used on any thread, the rest on one.
class Callers {
 public:
  /// `learned` may be null: then nobody knows.
  Callers(std::shared_ptr<const CallerView> view, std::shared_ptr<const LearnedAddresses> learned)
      : view_(std::move(view)), learned_(std::move(learned)) {}

  [[nodiscard]] std::shared_ptr<const CallerResolver> resolver(const CallerRule& rule);
  /// All there are now.
  void each(const std::function<void(const std::shared_ptr<const Origin>&)>& use) const;
  /// Who would the caller of a connection be, with that peer and mark, by that device? As the
  /// resolver of a listener with that rule says it.
  struct Connection {
    Address peer;
    std::uint32_t mark = 0;
    unsigned ifindex = 0;
  };
  [[nodiscard]] Caller caller_of(const CallerRule& rule, const Connection& connection);
  /// @see GuestFrontend::publish
  void publish(const PlaceName& place, AddressTable table);

 private:
  std::shared_ptr<AddressResolver> addresses_of(const PlaceName& place);

  std::shared_ptr<const CallerView> view_;
  std::shared_ptr<const LearnedAddresses> learned_;
  /// As long as one of its listeners is open.
  std::map<std::pair<Path, std::string>, std::weak_ptr<AddressResolver>> by_address_;
  /// What came before the first of them, which follows.
  std::map<std::pair<Path, std::string>, std::shared_ptr<const AddressTable>> early_;
};

}  // namespace metatap::dataplane
