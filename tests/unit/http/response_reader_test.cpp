// SPDX-License-Identifier: Apache-2.0
#include "http/response_reader.hpp"

#include <gmock/gmock.h>

#include <cstring>

namespace metatap::http {
namespace {

using namespace std::string_literals;
using State = ResponseReader::State;

struct Outcome {
  State state = State::need_more;
  std::string body;
  bool keep_alive = false;
  bool left_over = false;  // bytes it did not want any more
};

/// Feeds `bytes` in pieces of `step`, then the end of the connection if that is still wanted.
Outcome read(ResponseReader& reader, std::string_view bytes, std::size_t step) {
  Outcome outcome;
  while (outcome.state == State::need_more && !bytes.empty()) {
    const auto space = reader.space();
    const auto size = std::min({step, bytes.size(), space.size()});
    std::memcpy(space.data(), bytes.data(), size);
    bytes.remove_prefix(size);
    outcome.state = reader.received(size);
  }
  if (outcome.state == State::need_more) {
    outcome.state = reader.finish();
  }
  outcome.left_over = !bytes.empty();
  outcome.keep_alive = reader.keep_alive();
  outcome.body = reader.take_body().str();
  return outcome;
}

struct Case {
  const char* name;
  std::string bytes;
  bool complete;
  std::string body = {};
  bool keep_alive = false;
  unsigned status = 200;
  bool head = false;
};

const Case kCases[] = {
    {"sized", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, "hello", true},
    {"bare LF",
     "HTTP/1.1 404 Not Found\nContent-Type: text/plain\nContent-Length: 2\n"
     "Connection: close\n\nno",
     true, "no", false, 404},
    {"to the end", "HTTP/1.1 200 OK\r\nContent-Type: a\r\n\r\nhello", true, "hello"},
    {"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", true, "hi"},
    {"1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi",
     true, "hi", true},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", true, "", true},
    {"chunked",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n"
     "0\r\nTrailer: 1\r\n\r\n",
     true, "hello", true},
    {"chunked, bare LF", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nhel\n0\n\n", true,
     "hel", true},
    {"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true,
     "hi", true},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", true, "", true, 204},
    {"204 that announces a body", "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", true, "",
     false, 204},
    {"204 that announces chunks", "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", true, "",
     false, 204},
    {"304 with the length of what is not sent",
     "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", true, "", true, 304},
    {"304", "HTTP/1.1 304 Not Modified\r\n\r\n", true, "", true, 304},
    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", true, "", true, 200, true},
    {"binary", std::string("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x1f\x8b\0\xff", 42), true,
     std::string("\x1f\x8b\0\xff", 4), true},
    {"more than was asked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", true, "hi", false},
    {"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
     true, "hi", true},
    {"more than chunks",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n!", true, "hi",
     false},
    {"more than a trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n",
     true, "", false},
    {"204 and a body", "HTTP/1.1 204 No Content\r\n\r\nhi", true, "", false, 204},
    {"304 and a body", "HTTP/1.1 304 Not Modified\r\n\r\nhi", true, "", false, 304},
    {"HEAD and a body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", true, "", false, 200,
     true},
    {"close and keep-alive",
     "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
     true, "", false},
    {"interim with a body",
     "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n", false},
    {"length and chunks",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
    {"chunks and length, HEAD",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", false, "", false,
     200, true},
    {"length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", false},
    {"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi", false},
    {"hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi", false},
    {"list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", false},
    {"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi", false},
    {"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false},
    {"coding twice",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
     "0\r\n\r\n",
     false},
    {"chunks in 1.0",
     "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     false},
    {"signed chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n",
     false},
    {"chunk of 0x2", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
     false},
    {"chunk longer than it says",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", false},
    {"CR in a chunk extension",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a\rb\r\nhi\r\n0\r\n\r\n", false},
    {"trailer that is none",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n", false},
    {"endless trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" +
         [] {
           std::string text;
           for (int i = 0; i < 2000; ++i) {
             text += "A: b\r\n";
           }
           return text + "\r\n";
         }(),
     false},
    {"folded", "HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\nContent-Length: 0\r\n\r\n", false},
    {"folded length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nhi", false},
    {"NUL in a value", "HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 0\r\n\r\n"s, false},
    {"NUL in a name", "HTTP/1.1 200 OK\r\nContent-Length\0: 2\r\n\r\nhi"s, false},
    {"CR in a value", "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 5\r\n\r\n", false},
    {"CR in a name", "HTTP/1.1 200 OK\r\nA\rContent-Length: 5\r\n\r\n", false},
    {"CR in the reason", "HTTP/1.1 200 OK\rContent-Length: 5\r\n\r\n", false},
    {"CR CR LF", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\r\n\r\n", false},
    {"nothing", "", false},
    {"garbage", "SSH-2.0-OpenSSH_9.2\r\n", false},
    {"version", "HTTP/2.0 200 OK\r\n\r\n", false},
    {"status", "HTTP/1.1 2x0 OK\r\n\r\n", false},
    {"small status", "HTTP/1.1 099 OK\r\n\r\n", false},
    {"switching", "HTTP/1.1 101 Switching\r\n\r\n", false},
    {"head cut", "HTTP/1.1 200 OK\r\nContent-Le", false},
    {"no blank line", "HTTP/1.1 404 Not Found\nContent-Length: 0\n", false},
    {"body cut", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", false},
    {"chunk cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", false},
    {"no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", false},
    {"bad chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false},
    {"overflowing chunk",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", false},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", false},
    {"bad length", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi", false},
    {"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", false},
    {"no colon", "HTTP/1.1 200 OK\r\nhello\r\n\r\n", false},
    {"space in a name", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", false},
    {"too large", "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", false},
    {"too large chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n", false},
    {"too large to the end", "HTTP/1.1 200 OK\r\n\r\n" + std::string(2 << 20, 'x'), false},
    {"endless head", "HTTP/1.1 200 OK\r\nA: " + std::string(80 << 10, 'x'), false},
    {"endless fields",
     [] {
       std::string text = "HTTP/1.1 200 OK\r\n";
       for (int i = 0; i < 1000; ++i) {
         text += "A: b\r\n";
       }
       return text + "\r\n";
     }(),
     false},
};

TEST(ResponseReader, TakesWhatServersSendInAnyPieces) {
  for (const Case& one : kCases) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, std::size_t{1} << 20U}) {
      if (step == 1 && one.bytes.size() > 100'000) {
        continue;
      }
      SCOPED_TRACE(std::string(one.name) + ", in pieces of " + std::to_string(step));
      ResponseReader reader(1 << 20);
      reader.begin(one.head);
      const auto outcome = read(reader, one.bytes, step);
      EXPECT_EQ(outcome.state == State::complete, one.complete);
      if (one.complete && outcome.state == State::complete) {
        EXPECT_EQ(reader.status(), one.status);
        EXPECT_EQ(outcome.body, one.body);
        // Bytes after the end are seen only if they come along with it.
        if (step > one.bytes.size() || !outcome.left_over) {
          EXPECT_EQ(outcome.keep_alive, one.keep_alive);
        }
      }
    }
  }
}

TEST(ResponseReader, FindsHeadersInAnyCase) {
  ResponseReader reader(1000);
  reader.begin(false);
  read(reader, "HTTP/1.1 200 OK\r\nCONTENT-type:\t text/plain \r\nContent-Length: 0\r\n\r\n", 1000);
  EXPECT_EQ(reader.header("Content-Type"), "text/plain");
  EXPECT_EQ(reader.header("Retry-After"), std::nullopt);
}

/// Gives the reader `size` bytes, as they come from a socket; what it then says.
State feed(ResponseReader& reader, std::size_t size) {
  auto state = State::need_more;
  while (size != 0 && state == State::need_more) {
    const auto space = reader.space();
    const auto step = std::min(size, space.size());
    std::memset(space.data(), 'x', step);
    size -= step;
    state = reader.received(step);
  }
  return state;
}

void give(ResponseReader& reader, std::string_view text) {
  std::memcpy(reader.space().data(), text.data(), text.size());
  reader.received(text.size());
}

constexpr std::size_t kMebibyte = 1U << 20U;

TEST(ResponseReader, HoldsWhatCameNotWhatIsAnnounced) {
  const auto budget = std::make_shared<MemoryBudget>(64 * kMebibyte);
  ResponseReader reader(64 * kMebibyte, budget);
  reader.begin(false);
  give(reader, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n");
  EXPECT_EQ(budget->used(), 0U);
  EXPECT_LE(reader.space().size(), MemoryShare::kFree);
  std::size_t came = 0;
  for (const std::size_t more : {std::size_t{1000}, kMebibyte, 4 * kMebibyte}) {
    EXPECT_EQ(feed(reader, more), State::need_more);
    came += more;
    EXPECT_LE(budget->used(), 2 * came + MemoryShare::kFree);
  }
  EXPECT_EQ(feed(reader, 64 * kMebibyte - came), State::complete);
  EXPECT_EQ(budget->used(), 64 * kMebibyte);
}

TEST(ResponseReader, CountsABodyUntilItsLastCopyHasGone) {
  const auto budget = std::make_shared<MemoryBudget>(10 * kMebibyte);
  ResponseReader reader(10 * kMebibyte, budget);
  reader.begin(false);
  give(reader, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
  ASSERT_EQ(feed(reader, kMebibyte), State::complete);
  {
    const Body body = reader.take_body();
    const Body copy = body;  // NOLINT(performance-unnecessary-copy-initialization)
    reader.begin(false);
    EXPECT_EQ(body.size(), kMebibyte);
    EXPECT_EQ(budget->used(), kMebibyte);
  }
  EXPECT_EQ(budget->used(), 0U);
}

TEST(ResponseReader, FailsWhenThereIsNothingLeftOfTheBudget) {
  for (const auto* framing : {"Content-Length: 1048576\r\n\r\n", "\r\n",
                              "Transfer-Encoding: chunked\r\n\r\n100000\r\n"}) {
    const auto budget = std::make_shared<MemoryBudget>(100'000);
    ResponseReader reader(10 * kMebibyte, budget);
    reader.begin(false);
    give(reader, std::string("HTTP/1.1 200 OK\r\n") + framing);
    EXPECT_EQ(feed(reader, kMebibyte), State::failed) << framing;
    EXPECT_TRUE(reader.out_of_memory()) << framing;
    EXPECT_LE(budget->used(), budget->limit());
    EXPECT_EQ(budget->counts().memory_refused, 1U);
    reader.begin(false);
    EXPECT_EQ(budget->used(), 0U) << framing;
  }
}

}  // namespace
}  // namespace metatap::http
