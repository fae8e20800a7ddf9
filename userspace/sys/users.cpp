// SPDX-License-Identifier: Apache-2.0
#include "sys/users.hpp"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <optional>
#include <vector>

namespace metatap::sys {
namespace {

constexpr std::size_t kRoom = 16 * 1024;

std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  const auto* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return read.ec == std::errc() && read.ptr == end ? std::optional(value) : std::nullopt;
}

}  // namespace

Result<User> find_user(std::string_view name) {
  const std::string text(name);
  std::vector<char> room(kRoom);
  passwd entry{};
  passwd* found = nullptr;
  const int failed = ::getpwnam_r(text.c_str(), &entry, room.data(), room.size(), &found);
  if (found == nullptr) {
    return failed != 0 ? fail_errno(failed, "look for user " + text)
                       : Result<User>(fail(ErrorCode::not_found, "there is no user " + text));
  }
  return User{text, entry.pw_uid, entry.pw_gid};
}

Result<uid_t> user_id(std::string_view name_or_number) {
  if (const auto id = number(name_or_number)) {
    return *id;
  }
  return find_user(name_or_number).map([](const User& user) { return user.uid; });
}

Result<gid_t> group_id(std::string_view name_or_number) {
  if (const auto id = number(name_or_number)) {
    return *id;
  }
  const std::string text(name_or_number);
  std::vector<char> room(kRoom);
  group entry{};
  group* found = nullptr;
  const int failed = ::getgrnam_r(text.c_str(), &entry, room.data(), room.size(), &found);
  if (found == nullptr) {
    return failed != 0 ? fail_errno(failed, "look for group " + text)
                       : Result<gid_t>(fail(ErrorCode::not_found, "there is no group " + text));
  }
  return entry.gr_gid;
}

std::string user_name(uid_t uid) {
  std::vector<char> room(kRoom);
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(uid, &entry, room.data(), room.size(), &found);
  return found != nullptr ? found->pw_name : "";
}

std::string group_name(gid_t gid) {
  std::vector<char> room(kRoom);
  group entry{};
  group* found = nullptr;
  ::getgrgid_r(gid, &entry, room.data(), room.size(), &found);
  return found != nullptr ? found->gr_name : "";
}

}  // namespace metatap::sys
