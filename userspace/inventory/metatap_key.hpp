// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/fields.hpp"
#include "metatap/model.hpp"

/// "metatap" of an object of the document: how metatap itself treats it. Every kind of object says
/// how its guests may ask (`access`); one that is plugged in somewhere says more (`treatment`).
namespace metatap {

const json::Keys<AccessPolicy>& access_keys();
const json::Keys<PortTreatment>& treatment_keys();

/// The entry of "metatap" in the table of an object with the member `access`, and perhaps
/// `treatment`.
template <class T>
json::Field<T> metatap_key() {
  static const auto keys = [] {
    json::Keys<T> all;
    for (const auto& field : access_keys().fields) {
      all.fields.push_back(json::within<&T::access>(field));
    }
    if constexpr (requires { &T::treatment; }) {
      for (const auto& field : treatment_keys().fields) {
        all.fields.push_back(json::within<&T::treatment>(field));
      }
    }
    return all;
  }();
  json::Shape shape{json::Shape::Kind::object};
  shape.keys = keys.list();
  return json::special<T>("metatap", std::move(shape), "How metatap treats it",
                          [](const json::Node& at, T& into) { json::read_object(at, keys, into); });
}

/// What these say, as the value of "metatap"; may be empty.
[[nodiscard]] json::Json metatap_value(const AccessPolicy& access,
                                       const PortTreatment& treatment = {});

}  // namespace metatap
