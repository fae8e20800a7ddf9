// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "metatap/result.hpp"

/// Users and groups of this machine, by name, or where it says so by number as well.
namespace metatap::sys {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// ErrorCode::not_found: there is no such user.
[[nodiscard]] Result<User> find_user(std::string_view name);
/// A number is taken as it is, whether or not anybody has it.
[[nodiscard]] Result<uid_t> user_id(std::string_view name_or_number);
[[nodiscard]] Result<gid_t> group_id(std::string_view name_or_number);
/// Empty: nobody has that number.
[[nodiscard]] std::string user_name(uid_t uid);
[[nodiscard]] std::string group_name(gid_t gid);

}  // namespace metatap::sys
