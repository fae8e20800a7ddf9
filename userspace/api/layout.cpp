// SPDX-License-Identifier: Apache-2.0
#include "api/layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace metatap::api {
namespace {

using Kind = Target::Kind;
using Type = Target::Type;

std::uint32_t hash_of(std::string_view path) {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(path));
}

void visit_leaves(const Json& node, const std::string& path,
                  const std::function<void(const std::string&, const Json&)>& visit) {
  if (node.kind() != Json::Kind::object) {
    visit(path, node);
    return;
  }
  for (const auto& [key, value] : node.members()) {
    visit_leaves(value, path.empty() ? key : path + "/" + key, visit);
  }
}

/// A directory as Nova prints it: sorted by name, directories with a slash.
std::string listing_text(const Json& node) {
  std::map<std::string_view, const Json*> sorted;
  for (const auto& [key, value] : node.members()) {
    if (key != "_name") {
      sorted.emplace(key, &value);
    }
  }
  std::string text;
  for (const auto& [key, value] : sorted) {
    if (!text.empty()) {
      text += '\n';
    }
    text.append(key);
    if (value->kind() == Json::Kind::object) {
      text += '/';
    }
  }
  return text;
}

}  // namespace

Layout::Layout(const Metadata& shape, std::size_t openstack_versions)
    : openstack_versions_(openstack_versions) {
  cells_.resize(64);
  add_ec2(shape);
  add_openstack(shape);
  paths_.shrink_to_fit();
}

void Layout::for_each_leaf(const Json& tree,
                           const std::function<void(const std::string&, const Json&)>& visit) {
  visit_leaves(tree, "", visit);
}

void Layout::add_ec2(const Metadata& shape) {
  std::map<std::string, std::uint16_t> slot_of;
  for_each_leaf(shape.ec2, [&](const std::string& path, const Json&) {
    slot_of[path] = static_cast<std::uint16_t>(slots_++);
  });
  const auto user_data = static_cast<std::uint16_t>(slots_);
  slots_ += shape.user_data ? 1 : 0;

  add_directory("/ec2", {Kind::ec2_versions, Type::text_plain, 0, 0});
  for (std::size_t v = 0; v <= kEc2Versions.size(); ++v) {
    const bool latest = v == kEc2Versions.size();
    const std::size_t version = latest ? v - 1 : v;
    const Json tree = shape.ec2_meta_data(version);
    const auto root = listing_of(shape.user_data ? "meta-data/\nuser-data" : "meta-data/");
    for (const std::string_view prefix : {"", "/ec2"}) {
      const std::string base =
          fmt::format("{}/{}", prefix, latest ? "latest" : kEc2Versions[version]);
      add_directory(base, {Kind::listing, Type::text_plain, root, 0});
      if (shape.user_data) {
        add(base + "/user-data", {Kind::slot, Type::text_plain, user_data, 0});
      }
      const std::function<void(const std::string&, const std::string&, const Json&)> walk =
          [&](const std::string& path, const std::string& key, const Json& node) {
            if (node.kind() != Json::Kind::object) {
              const bool caller = key == "local-ipv4" && shape.local_ipv4_from_caller;
              add(path,
                  {caller ? Kind::local_ipv4 : Kind::slot, Type::text_plain, slot_of.at(key), 0});
              return;
            }
            if (key == "public-keys") {
              // Printed by the name of its only child, which is a value.
              add_directory(path,
                            {Kind::slot, Type::text_plain, slot_of.at("public-keys/0/_name"), 0});
            } else {
              add_directory(path,
                            {Kind::listing, Type::text_plain, listing_of(listing_text(node)), 0});
            }
            for (const auto& [name, child] : node.members()) {
              walk(path + "/" + name, key.empty() ? name : key + "/" + name, child);
            }
          };
      walk(base + "/meta-data", "", tree);
    }
  }
}

void Layout::add_openstack(const Metadata& shape) {
  const std::size_t versions = openstack_versions_;
  const auto user_data = static_cast<std::uint16_t>(slots_ - 1);
  const auto head = static_cast<std::uint16_t>(slots_++);
  const auto network_data = static_cast<std::uint16_t>(slots_++);
  const std::size_t content = slots_;
  slots_ += shape.content.size();
  const std::size_t tails = slots_;
  slots_ += versions;

  add_directory("/openstack", {Kind::openstack_versions, Type::text_plain, 0, 0});
  for (std::size_t i = 0; i < shape.content.size(); ++i) {
    add(fmt::format("/openstack/content/{:04}", i),
        {Kind::slot, Type::text_plain, static_cast<std::uint16_t>(content + i), 0});
  }
  for (std::size_t i = 0; i <= versions; ++i) {
    const bool latest = i == versions;
    const std::size_t v = latest ? i - 1 : i;
    const std::string base =
        fmt::format("/openstack/{}", latest ? "latest" : kOpenstackVersions[v]);
    std::string listing = "meta_data.json";
    add(base + "/meta_data.json", {v < since::kRandomSeed ? Kind::plain_meta_data : Kind::meta_data,
                                   Type::json, head, static_cast<std::uint16_t>(tails + v)});
    if (shape.user_data) {
      listing += "\nuser_data";
      add(base + "/user_data", {Kind::slot, Type::text_plain, user_data, 0});
    }
    if (v >= since::kPassword) {
      listing += "\npassword";
      add(base + "/password", {Kind::password, Type::text_plain, 0, 0});
    }
    if (v >= since::kVendorData) {
      listing += "\nvendor_data.json";
      add(base + "/vendor_data.json", {Kind::vendor_data, Type::json, 0, 0});
    }
    if (shape.network_data) {
      if (v >= since::kNetworkDataListed) {
        listing += "\nnetwork_data.json";
      }
      // Served in every version, and as text.
      add(base + "/network_data.json", {Kind::slot, Type::text_plain, network_data, 0});
    }
    if (v >= since::kVendorData2) {
      listing += "\nvendor_data2.json";
      add(base + "/vendor_data2.json", {Kind::vendor_data2, Type::json, 0, 0});
    }
    const Target target{Kind::listing, Type::text_plain, listing_of(std::move(listing)), 0};
    add_directory(base, target);
    add(base + "/version", target);  // an accident of Nova's routes
  }
}

std::uint16_t Layout::listing_of(std::string text) {
  const auto found = std::ranges::find(listings_, text);
  if (found != listings_.end()) {
    return static_cast<std::uint16_t>(found - listings_.begin());
  }
  listings_.push_back(std::move(text));
  return static_cast<std::uint16_t>(listings_.size() - 1);
}

void Layout::add_directory(std::string_view path, Target target) {
  add(path, target);
  add(std::string(path) + "/", target);
}

void Layout::add(std::string_view path, Target target) {
  if (2 * (cells_used_ + 1) > cells_.size()) {
    grow();
  }
  const std::uint32_t hash = hash_of(path);
  Cell& cell = cells_[place_of(hash, path)];
  if (cell.length == 0) {
    cell = {hash, static_cast<std::uint32_t>(paths_.size()),
            static_cast<std::uint32_t>(path.size()), target};
    paths_.append(path);
    ++cells_used_;
  }
}

void Layout::grow() {
  std::vector<Cell> old(cells_.size() * 2);
  old.swap(cells_);
  for (const Cell& cell : old) {
    if (cell.length != 0) {
      const auto path = std::string_view(paths_).substr(cell.offset, cell.length);
      cells_[place_of(cell.hash, path)] = cell;
    }
  }
}

std::size_t Layout::place_of(std::uint32_t hash, std::string_view path) const {
  const std::size_t mask = cells_.size() - 1;
  std::size_t i = hash & mask;
  while (cells_[i].length != 0 &&
         (cells_[i].hash != hash ||
          std::string_view(paths_).substr(cells_[i].offset, cells_[i].length) != path)) {
    i = (i + 1) & mask;
  }
  return i;
}

const Target* Layout::find(std::string_view path) const {
  const Cell& cell = cells_[place_of(hash_of(path), path)];
  return cell.length == 0 ? nullptr : &cell.target;
}

std::size_t Layout::bytes() const {
  std::size_t total = sizeof(*this) + cells_.size() * sizeof(Cell) + paths_.capacity();
  for (const std::string& listing : listings_) {
    total += sizeof(listing) + listing.capacity();
  }
  return total;
}

std::vector<std::string> Layout::all_paths() const {
  std::vector<std::string> paths;
  for (const Cell& cell : cells_) {
    if (cell.length != 0) {
      paths.push_back(paths_.substr(cell.offset, cell.length));
    }
  }
  std::ranges::sort(paths);
  return paths;
}

std::shared_ptr<const Layout> LayoutCache::for_shape(const Metadata& shape) {
  std::string key;
  Layout::for_each_leaf(
      shape.ec2, [&](const std::string& path, const Json&) { key.append(path).append("\n"); });
  key += fmt::format("{}{}{}{}", shape.user_data ? 'u' : '-', shape.network_data ? 'n' : '-',
                     shape.local_ipv4_from_caller ? 'c' : '-', shape.content.size());
  const std::scoped_lock lock(mutex_);
  std::weak_ptr<const Layout>& known = layouts_[key];
  if (auto layout = known.lock()) {
    return layout;
  }
  auto layout = std::make_shared<const Layout>(shape, versions_);
  known = layout;
  // Shapes that nobody has any more.
  std::erase_if(layouts_, [](const auto& entry) { return entry.second.expired(); });
  return layout;
}

std::size_t LayoutCache::size() const {
  const std::scoped_lock lock(mutex_);
  return layouts_.size();
}

}  // namespace metatap::api
