// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "http/limits.hpp"
#include "http/memory_budget.hpp"
#include "metatap/exchange.hpp"

namespace metatap::http {

/// Reads one request after the other out of a connection's bytes, into one buffer that is
/// recycled: the finished request is a set of views into it. Beast's parser decides what is HTTP,
/// but for heads so plain that there is nothing to decide (http/plain_head.hpp); on top of it:
/// sizes, a target in one of HTTP's forms, no obsolete line folding, and no ambiguity about where
/// the body ends (two Content-Lengths, or one next to Transfer-Encoding, or an unknown coding). The
/// buffer grows with what has come, never with what is announced.
class RequestReader {
 public:
  enum class State : std::uint8_t { need_more, complete, failed };

  explicit RequestReader(const Limits& limits, std::shared_ptr<MemoryBudget> budget = nullptr)
      : limits_(&limits), share_(std::move(budget)) {}

  /// Room for the next bytes from the connection; empty only after a failure, which having none
  /// left of the budget is.
  [[nodiscard]] std::span<char> space();
  void received(std::size_t bytes) { end_ += bytes; }
  State parse();

  /// No byte of a request is there (an idle connection).
  [[nodiscard]] bool empty() const { return end_ == begin_; }
  /// Bytes of empty lines that came before a request. They are ignored, but count as its head.
  [[nodiscard]] std::size_t skipped() const { return skipped_; }
  [[nodiscard]] bool head_done() const { return head_done_; }
  /// The head is there, the body is not, and the client waits for our word ("100-continue").
  [[nodiscard]] bool wants_continue();

  /// After State::complete; valid until next().
  [[nodiscard]] Request request(const Peer& peer);
  [[nodiscard]] bool keep_alive() const { return keep_alive_; }
  [[nodiscard]] bool http_1_0() const { return version_ == 10; }
  [[nodiscard]] bool head_request() const { return view(method_) == "HEAD"; }
  /// After State::failed: the status to answer, and why.
  [[nodiscard]] unsigned status() const { return status_; }
  [[nodiscard]] std::string_view reason() const { return reason_; }

  /// Forgets the finished request and keeps the bytes that follow it.
  void next();
  /// Forgets everything but the memory, and of that what is out of the ordinary.
  void clear();

 private:
  struct Slice {
    std::uint32_t offset = 0, size = 0;
  };
  class Parser;
  friend class Parser;

  /// Beast's parser, its events written down as offsets into our buffer.
  class Parser final : public boost::beast::http::basic_parser<true> {
   public:
    explicit Parser(RequestReader& owner) : owner_(owner) {}

   private:
    using error_code = boost::beast::error_code;
    using string_view = boost::beast::string_view;
    void on_request_impl(boost::beast::http::verb, string_view method, string_view target,
                         int version, error_code& error) override;
    void on_response_impl(int, string_view, int, error_code&) override {}
    void on_field_impl(boost::beast::http::field name, string_view name_text, string_view value,
                       error_code& error) override;
    void on_header_impl(error_code& error) override;
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(string_view body, error_code& error) override;
    void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t remain, string_view body,
                                   error_code& error) override;
    void on_finish_impl(error_code&) override {}

    RequestReader& owner_;
  };

  [[nodiscard]] std::string_view view(Slice slice) const {
    return {memory_.data() + slice.offset, slice.size};
  }
  [[nodiscard]] Slice slice(std::string_view text) const {
    return {static_cast<std::uint32_t>(text.data() - memory_.data()),
            static_cast<std::uint32_t>(text.size())};
  }
  [[nodiscard]] bool inside(std::string_view text) const {
    return text.empty() ||
           (text.data() >= memory_.data() && text.data() + text.size() <= memory_.data() + end_);
  }
  /// A whole request that is nothing but a plain head.
  bool parse_plain_head();
  boost::beast::error_code refuse(unsigned status, std::string_view reason);
  State fail_with(unsigned status, std::string_view reason);

  const Limits* limits_;
  MemoryShare share_;  // of memory_
  std::vector<char> memory_;
  std::size_t skipped_ = 0;
  std::size_t begin_ = 0;   // of the request
  std::size_t parsed_ = 0;  // Beast has consumed up to here
  std::size_t end_ = 0;     // received up to here
  std::optional<Parser> parser_;

  Slice method_, target_;
  struct Field {
    Slice name, value;
  };
  std::vector<Field> fields_;
  std::vector<Header> headers_;  // of a plain head from the beginning, else made of fields_
  int version_ = 11;
  bool head_done_ = false, keep_alive_ = false, expect_continue_ = false;
  bool content_length_ = false, transfer_encoding_ = false;
  std::size_t body_begin_ = 0, body_end_ = 0;
  unsigned status_ = 0;
  std::string_view reason_;
};

}  // namespace metatap::http
