// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "inventory/difference.hpp"
#include "inventory/plan.hpp"

namespace metatap {

/// What differs, for a person to read.
inline std::string differences(Inventory before, Inventory after) {
  return plan_of(difference(std::make_shared<const Inventory>(std::move(before)),
                            std::make_shared<const Inventory>(std::move(after))))
      .text();
}

}  // namespace metatap
