// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include "inventory/keeper.hpp"

namespace metatap {

/// Has the keeper do it. What throws has failed, and is told to whoever waits for it: nobody waits
/// for ever, and who looks again and again goes on to do so.
template <class W>
std::invoke_result_t<W&, Keeper&> carry_out(W& work, Keeper& keeper) {
  using Made = std::invoke_result_t<W&, Keeper&>;
  try {
    return work(keeper);
  } catch (const std::exception& error) {
    auto failed = tl::make_unexpected(Error{ErrorCode::internal, error.what()});
    if constexpr (std::is_same_v<Made, Keeper::Look>) {
      return {true, std::move(failed), std::nullopt};
    } else {
      return Result<InventoryChange>(std::move(failed));
    }
  }
}

}  // namespace metatap
