// SPDX-License-Identifier: Apache-2.0
#include "http/plain_head.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "http/request_reader.hpp"

namespace metatap::http {
namespace {

using ::testing::ElementsAre;
using ::testing::FieldsAre;

constexpr std::size_t kMost = 100;

std::optional<PlainHead> read(std::string_view bytes, std::vector<Header>& fields) {
  return read_plain_head(bytes, kMost, fields);
}

bool is_plain(const std::string& bytes) {
  std::vector<Header> fields;
  return read(bytes, fields).has_value();
}

TEST(PlainHead, IsReadToItsParts) {
  std::vector<Header> fields;
  const std::string_view bytes =
      "GET /latest/meta-data/?a=%20 HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Nothing:\r\n"
      "User-Agent:  a b \r\n\r\nGET ";
  const auto head = read(bytes, fields);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->method, "GET");
  EXPECT_EQ(head->target, "/latest/meta-data/?a=%20");
  EXPECT_EQ(head->size, bytes.size() - 4) << "what follows is of the next request";
  EXPECT_TRUE(head->keep_alive);
  EXPECT_THAT(fields, ElementsAre(FieldsAre("Host", "169.254.169.254"), FieldsAre("X-Nothing", ""),
                                  FieldsAre("User-Agent", "a b")));
}

TEST(PlainHead, SaysWhetherTheConnectionGoesOn) {
  std::vector<Header> fields;
  EXPECT_TRUE(read("GET / HTTP/1.1\r\nconnection: Keep-Alive\r\n\r\n", fields)->keep_alive);
  EXPECT_FALSE(read("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n", fields)->keep_alive);
  EXPECT_FALSE(read("GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", fields)
                   ->keep_alive);
}

TEST(PlainHead, WhatAsksForThoughtIsLeftToBeast) {
  ASSERT_TRUE(is_plain("GET / HTTP/1.1\r\nA: b\r\n\r\n"));
  const std::vector<std::string> heads{
      "",
      "GET / HTTP/1.1\r\nA: b\r\n",
      "GET / HTTP/1.1\r\nA: b\r\n\r",
      "GET / HTTP/1.1\nA: b\n\n",
      "GET / HTTP/1.1\r\nA: b\n\r\n",
      "GET / HTTP/1.1\r\r\n\r\n",
      "GET  / HTTP/1.1\r\n\r\n",
      "GET /  HTTP/1.1\r\n\r\n",
      "GET /\t HTTP/1.1\r\n\r\n",
      "GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
      std::string("GET /\0 HTTP/1.1\r\n\r\n", 19),
      "GET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.2\r\n\r\n",
      "GET / http/1.1\r\n\r\n",
      "GET /\r\n\r\n",
      "get / HTTP/1.1\r\n\r\n",
      "PUT / HTTP/1.1\r\n\r\n",
      "POST / HTTP/1.1\r\n\r\n",
      "GETS / HTTP/1.1\r\n\r\n",
      "GET http://host/ HTTP/1.1\r\n\r\n",
      "GET * HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nA : b\r\n\r\n",
      "GET / HTTP/1.1\r\n: b\r\n\r\n",
      "GET / HTTP/1.1\r\nA\r\n\r\n",
      "GET / HTTP/1.1\r\n A: b\r\n\r\n",
      "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
      "GET / HTTP/1.1\r\nA: b\tc\r\n\r\n",
      "GET / HTTP/1.1\r\nA:\tb\r\n\r\n",
      "GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n",
      "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
      std::string("GET / HTTP/1.1\r\nA: \0\r\n\r\n", 24),
      "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
      "GET / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabc",
      "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
      "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
      "GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n",
      "GET / HTTP/1.1\r\nConnection: close, te\r\n\r\n",
      "GET / HTTP/1.1\r\nConnection:\r\n\r\n",
      "GET / HTTP/1.1\r\nProxy-Connection: close\r\n\r\n",
  };
  for (const auto& head : heads) {
    EXPECT_FALSE(is_plain(head)) << head;
  }
  std::vector<Header> fields;
  EXPECT_FALSE(read_plain_head("GET / HTTP/1.1\r\nA: b\r\nA: b\r\n\r\n", 1, fields));
  EXPECT_TRUE(read_plain_head("GET / HTTP/1.1\r\nA: b\r\n\r\n", 1, fields));
}

/// The first request in `bytes`, that came in two pieces of which the first has so many: what it
/// was, or the status that refused it.
std::string first_of(std::string_view bytes, std::size_t first) {
  static const Limits limits;
  static const Peer peer;
  RequestReader reader(limits);
  auto state = RequestReader::State::need_more;
  for (const auto piece : {bytes.substr(0, first), bytes.substr(first)}) {
    if (state == RequestReader::State::need_more && !piece.empty()) {
      std::memcpy(reader.space().data(), piece.data(), piece.size());
      reader.received(piece.size());
      state = reader.parse();
    }
  }
  if (state != RequestReader::State::complete) {
    return state == RequestReader::State::failed ? std::to_string(reader.status()) : "more";
  }
  const auto request = reader.request(peer);
  std::string text = std::string(request.method) + ' ' + std::string(request.target);
  for (const auto& [name, value] : request.headers) {
    text.append("|").append(name).append("=").append(value);
  }
  return text + '|' + std::string(request.body) + (reader.keep_alive() ? " keep" : " close") +
         (reader.http_1_0() ? " 1.0" : " 1.1") + (reader.head_request() ? " HEAD" : "");
}

/// Beast has begun when the second piece comes, so it decides there.
TEST(PlainHead, IsWhatBeastMakesOfIt) {
  const std::vector<std::string> pieces{"GET ",
                                        "HEAD ",
                                        "POST ",
                                        "/",
                                        "/a/b?c=d",
                                        "*",
                                        " HTTP/1.1\r\n",
                                        " HTTP/1.0\r\n",
                                        "Host: a\r\n",
                                        "A:b \r\n",
                                        "A:\tb\r\n",
                                        "\r\n",
                                        "\n",
                                        "\r",
                                        "Connection: close\r\n",
                                        "Connection: Keep-Alive\r\n",
                                        "Content-Length: 2\r\n",
                                        "Connection: close, keep-alive\r\n",
                                        "Transfer-Encoding: chunked\r\n",
                                        "Expect: 100-continue\r\n",
                                        "Proxy-Connection: close\r\n",
                                        " ",
                                        ":",
                                        "ab",
                                        "X-Metadata-Token: abc\r\n",
                                        "\x80",
                                        "\x7f",
                                        "0\r\n\r\n"};
  std::mt19937 random(20261126);
  const auto below = [&](std::size_t most) { return random() % most; };
  std::size_t plain = 0;
  for (int round = 0; round < 30'000; ++round) {
    std::string bytes = below(8) == 0 ? "HEAD /x HTTP/1.1\r\n" : "GET /latest/ HTTP/1.1\r\n";
    for (auto count = below(5); count > 0; --count) {
      bytes += pieces[below(pieces.size())];
    }
    bytes += "\r\n";
    if (below(2) == 0) {
      bytes[below(bytes.size())] = static_cast<char>(below(256));
    }
    if (below(4) == 0) {
      bytes.insert(below(bytes.size()), pieces[below(pieces.size())]);
    }
    plain += is_plain(bytes) ? 1 : 0;
    ASSERT_EQ(first_of(bytes, bytes.size()), first_of(bytes, 1)) << ::testing::PrintToString(bytes);
  }
  EXPECT_GT(plain, 3'000U) << "the comparison is of what is read here";
}

}  // namespace
}  // namespace metatap::http
