// SPDX-License-Identifier: Apache-2.0
#include "metatap/path_class.hpp"

#include <array>

namespace metatap {
namespace {

PathClass of_openstack(std::string_view leaf) {
  switch (leaf.empty() ? '\0' : leaf.front()) {
    case '\0':
      return PathClass::listing;
    case 'm':
      return leaf == "meta_data.json" ? PathClass::meta_data : PathClass::other;
    case 'u':
      return leaf == "user_data" ? PathClass::user_data : PathClass::other;
    case 'n':
      return leaf == "network_data.json" ? PathClass::network_data : PathClass::other;
    case 'v':
      return leaf == "vendor_data.json" || leaf == "vendor_data2.json" ? PathClass::vendor_data
                                                                       : PathClass::other;
    case 'p':
      return leaf == "password" ? PathClass::password : PathClass::other;
    default:
      return leaf == "latest" || leaf == "openstack" || (leaf.front() >= '0' && leaf.front() <= '9')
                 ? PathClass::listing
                 : PathClass::other;
  }
}

}  // namespace

PathClass path_class_of(std::string_view target) {
  constexpr std::string_view kOpenstack = "/openstack", kLatest = "/latest", kOwn = "/metatap/";
  if (target.starts_with(kOpenstack)) {
    return of_openstack(target.substr(target.rfind('/') + 1));
  }
  if (target == "/") {
    return PathClass::listing;
  }
  const bool ec2 =
      target.starts_with(kLatest) || (target.size() > 1 && target[1] >= '0' && target[1] <= '9');
  if (!ec2) {
    return target.starts_with(kOwn) ? PathClass::metatap : PathClass::other;
  }
  return target.ends_with("/user-data") ? PathClass::user_data : PathClass::ec2;
}

std::string_view name_of(PathClass path) {
  constexpr std::array<std::string_view, kPathClasses> kNames{
      "meta_data", "user_data", "network_data", "vendor_data", "password",
      "ec2",       "listing",   "metatap",      "other",       "malformed"};
  return kNames.at(static_cast<std::size_t>(path));
}

}  // namespace metatap
