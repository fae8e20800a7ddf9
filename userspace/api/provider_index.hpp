// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/published.hpp"
#include "metatap/model.hpp"
#include "metatap/persistent_map.hpp"

namespace metatap::api {

/// For load-balancer mode: which ports have an address in the networks that a metadata provider (an
/// edge that does not know instances: NSX) is connected to. A subnet names its providers in
/// `advanced_service_providers`, as Neutron's API has it; while none does, nothing is kept.
///
/// apply() on one thread, find() on any.
class ProviderIndex {
 public:
  /// Whose a port is.
  struct Owner {
    std::string instance_id, project_id;
  };
  struct Found {
    bool provider = false;      ///< there is a subnet of that provider
    std::vector<Owner> owners;  ///< of all ports with the address, in all its networks
  };

  explicit ProviderIndex(const Inventory& inventory);
  /// Follows a change, in time proportional to it.
  void apply(const InventoryChange& change);

  /// A text that is no address is nobody's.
  [[nodiscard]] Found find(std::string_view provider, std::string_view address) const;

 private:
  template <class Value>
  using Map = PersistentMap<Value, ByHash>;
  struct Index {
    /// The networks of a provider, one for each of its subnets.
    Map<std::vector<std::string>> networks;
    /// By network and address.
    Map<std::vector<Owner>> owners;
  };

  static void add(Index& index, const Subnet& subnet);
  static void remove(Index& index, const Subnet& subnet);
  static void add(Index& index, const Port& port);
  static void remove(Index& index, const Port& port);
  static std::shared_ptr<const Index> index_of(const Inventory& inventory);

  Published<Index> index_;
};

}  // namespace metatap::api
