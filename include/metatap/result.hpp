// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace metatap {

/// What kind of failure it was, so that a caller can decide without reading the text.
enum class ErrorCode : std::uint8_t {
  invalid,      ///< the input is wrong: a document, an option, an argument
  not_found,    ///< the thing named does not exist
  conflict,     ///< it exists already, or something else claims it
  denied,       ///< the kernel or a peer refused: permission, credential
  unsupported,  ///< this kernel or build cannot do it
  unavailable,  ///< a neighbour is down or overloaded; trying again may help
  timeout,
  internal,
};

/// An error is a sentence "what we did: why", ready for a log line or a terminal.
/// It never holds a secret.
struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;

  /// Puts the caller's own step in front: "attach mt_tap to tap3f2: <message>".
  [[nodiscard]] Error in(std::string_view step) && {
    message.insert(0, std::string(step) + ": ");
    return std::move(*this);
  }
};

/// Values, not exceptions, cross every stage boundary.
template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

[[nodiscard]] inline tl::unexpected<Error> fail(ErrorCode code, std::string message) {
  return tl::make_unexpected(Error{code, std::move(message)});
}

/// The one place where an errno becomes an Error.
[[nodiscard]] inline Error errno_error(int error_number, std::string_view step) {
  ErrorCode code = ErrorCode::internal;
  switch (error_number) {
    case EPERM:
    case EACCES:
      code = ErrorCode::denied;
      break;
    case ENOENT:
    case ENODEV:
    case ESRCH:
    case ENXIO:
      code = ErrorCode::not_found;
      break;
    case EEXIST:
    case EBUSY:
    case EADDRINUSE:
      code = ErrorCode::conflict;
      break;
    case EOPNOTSUPP:
    case ENOSYS:
      code = ErrorCode::unsupported;
      break;
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
    case EPIPE:
      code = ErrorCode::unavailable;
      break;
    case ETIMEDOUT:
      code = ErrorCode::timeout;
      break;
    default:
      break;
  }
  return {code, std::string(step) + ": " +
                    std::error_code(error_number, std::generic_category()).message()};
}

[[nodiscard]] inline tl::unexpected<Error> fail_errno(int error_number, std::string_view step) {
  return tl::make_unexpected(errno_error(error_number, step));
}

}  // namespace metatap
