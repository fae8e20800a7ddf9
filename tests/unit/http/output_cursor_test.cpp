// SPDX-License-Identifier: Apache-2.0
#include "http/output_cursor.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>

#include "metatap/unique_fd.hpp"

namespace metatap::http {
namespace {

std::string text_of(std::span<iovec> parts) {
  std::string text;
  for (const iovec& part : parts) {
    text.append(static_cast<const char*>(part.iov_base), part.iov_len);
  }
  return text;
}

TEST(OutputCursor, HasNothingToWriteAtFirst) {
  OutputCursor cursor;
  EXPECT_TRUE(cursor.done());
  EXPECT_TRUE(cursor.rest().empty());
  cursor.add("");
  EXPECT_TRUE(cursor.done());
}

TEST(OutputCursor, GoesOnWhereAWriteEnded) {
  const std::string whole = "HTTP/1.1 200 OK\r\n\r\nhead, seed and tail";
  for (std::size_t first = 0; first <= whole.size(); ++first) {
    for (std::size_t second = 0; first + second <= whole.size(); ++second) {
      OutputCursor cursor;
      cursor.add(std::string_view(whole).substr(0, 19));
      cursor.add(std::string_view(whole).substr(19, 6));
      cursor.add("");
      cursor.add(std::string_view(whole).substr(25, 1));
      cursor.add(std::string_view(whole).substr(26));
      cursor.advance(first);
      EXPECT_EQ(text_of(cursor.rest()), whole.substr(first));
      cursor.advance(second);
      EXPECT_EQ(text_of(cursor.rest()), whole.substr(first + second));
      EXPECT_EQ(cursor.done(), first + second == whole.size());
    }
  }
}

TEST(OutputCursor, BeginsAnew) {
  OutputCursor cursor;
  cursor.add("first");
  cursor.advance(2);
  cursor.clear();
  EXPECT_TRUE(cursor.done());
  cursor.add("second");
  EXPECT_EQ(text_of(cursor.rest()), "second");
}

/// Through a socket that takes little at a time.
TEST(OutputCursor, WritesEachByteOnce) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd ours(ends[0]), theirs(ends[1]);
  std::array<std::string, 4> parts;
  std::string whole;
  OutputCursor cursor;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    for (std::size_t k = 0; k < 300'000; ++k) {
      parts[i] += static_cast<char>('a' + (k * (i + 3) >> 3) % 26);
    }
    whole += parts[i];
    cursor.add(parts[i]);
  }
  std::string received;
  while (!cursor.done()) {
    const auto rest = cursor.rest();
    msghdr message{};
    message.msg_iov = rest.data();
    message.msg_iovlen = rest.size();
    const ssize_t sent = ::sendmsg(ours.get(), &message, MSG_NOSIGNAL);
    ASSERT_TRUE(sent > 0 || errno == EAGAIN);
    cursor.advance(sent > 0 ? static_cast<std::size_t>(sent) : 0);
    std::array<char, 10'007> bytes{};
    const ssize_t got = ::recv(theirs.get(), bytes.data(), bytes.size(), 0);
    received.append(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  }
  std::array<char, 10'007> bytes{};
  for (ssize_t got = 0; (got = ::recv(theirs.get(), bytes.data(), bytes.size(), 0)) > 0;) {
    received.append(bytes.data(), static_cast<std::size_t>(got));
  }
  EXPECT_TRUE(received == whole);
}

}  // namespace
}  // namespace metatap::http
