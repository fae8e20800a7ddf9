// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

namespace metatap::http {

/// What was thrown, as a value, and a line in the log: `what` is who threw, which nobody should.
[[nodiscard]] Error thrown(std::string_view what, const std::exception_ptr& error) noexcept;

/// Starts a coroutine that nobody waits for: the only way in which we do. It ends by itself and
/// does not throw; if it does all the same, that is logged, and `failed` is called in its place,
/// so that whoever counts on it learns of its end. (Asio's `detached` would keep silent about it.)
void spawn(const boost::asio::any_io_executor& executor, boost::asio::awaitable<void> coroutine,
           std::string_view what, std::function<void(Error)> failed = {});

}  // namespace metatap::http
