// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/metadata.hpp"

namespace metatap::api {

/// What stands behind a path.
struct Target {
  enum class Kind : std::uint8_t {
    slot,             ///< a body of the instance
    listing,          ///< a body of the layout
    local_ipv4,       ///< the caller's address, where the instance has none
    meta_data,        ///< head, seed, tail
    plain_meta_data,  ///< head and tail, before there was a seed
    ec2_versions,
    openstack_versions,
    password,
    vendor_data,
    vendor_data2,
  };
  enum class Type : std::uint8_t { text_plain, json };

  Kind kind = Kind::slot;
  Type type = Type::text_plain;
  std::uint16_t slot = 0;  ///< slot, or listing
  std::uint16_t tail = 0;  ///< slot of a meta_data.json's tail
};

/// The paths an instance answers, each with what stands behind it: about 700, in a hash table. It
/// does not depend on any value, only on which ones there are, so thousands of instances share one.
class Layout {
 public:
  /// Slots, in this order: the leaves of the EC2 tree as for_each_leaf() visits them, user data
  /// if any, head, network data, content files, one tail a version.
  Layout(const Metadata& shape, std::size_t openstack_versions);

  /// nullptr: no such path. Takes canonical paths and the usual spellings of directories.
  [[nodiscard]] const Target* find(std::string_view path) const;
  [[nodiscard]] const std::string& listing(std::size_t index) const { return listings_[index]; }
  [[nodiscard]] std::size_t slots() const { return slots_; }
  [[nodiscard]] std::size_t openstack_versions() const { return openstack_versions_; }
  [[nodiscard]] std::size_t paths() const { return cells_used_; }
  [[nodiscard]] std::size_t bytes() const;
  /// Every path, for tests and for `metatap instance show`.
  [[nodiscard]] std::vector<std::string> all_paths() const;

  /// The leaves of a meta-data tree, depth first in its own order.
  static void for_each_leaf(const Json& tree,
                            const std::function<void(const std::string&, const Json&)>& visit);

 private:
  struct Cell {
    std::uint32_t hash = 0, offset = 0, length = 0;
    Target target;
  };
  void add(std::string_view path, Target target);
  void add_directory(std::string_view path, Target target);
  std::uint16_t listing_of(std::string text);
  void add_ec2(const Metadata& shape);
  void add_openstack(const Metadata& shape);
  void grow();
  [[nodiscard]] std::size_t place_of(std::uint32_t hash, std::string_view path) const;

  std::vector<Cell> cells_;
  std::size_t cells_used_ = 0;
  std::string paths_;
  std::vector<std::string> listings_;
  std::size_t slots_ = 0, openstack_versions_ = 0;
};

/// Gives instances of one shape one layout. Thread-safe.
class LayoutCache {
 public:
  explicit LayoutCache(std::size_t openstack_versions) : versions_(openstack_versions) {}
  [[nodiscard]] std::shared_ptr<const Layout> for_shape(const Metadata& shape);
  [[nodiscard]] std::size_t size() const;

 private:
  std::size_t versions_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<const Layout>> layouts_;
};

}  // namespace metatap::api
