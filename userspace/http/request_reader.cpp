// SPDX-License-Identifier: Apache-2.0
#include "http/request_reader.hpp"

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <cstring>
#include <functional>

#include "base/ascii.hpp"
#include "http/plain_head.hpp"

namespace metatap::http {
namespace {

namespace beast = boost::beast;

constexpr std::size_t kFirstBuffer = 2048;
// Room for chunk framing and pipelined requests beyond head and body; also how many bytes of chunk
// header or trailer may stand unparsed.
constexpr std::size_t kSlack = 2048;
// A request line longer than the target limit and this has too long a target.
constexpr std::size_t kLongestMethod = 64;

bool within(const char* from, const char* text, std::size_t size, const char* to) {
  return !std::less<>{}(text, from) && !std::less<>{}(to, text + size);
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](char digit) { return digit >= '0' && digit <= '9'; });
}

/// The path and query of RFC 9112's forms of a target (§3.2), or nullopt for what is none of them.
/// Servers accept the absolute form; what follows the authority is the target, and where no path
/// does, it is the root. `OPTIONS *` asks about the server as a whole.
std::optional<std::string_view> origin_form(std::string_view method, std::string_view target) {
  if (target.starts_with('/')) {
    return target;
  }
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (istarts_with(target, scheme)) {
      const auto end = target.find_first_of("/?", scheme.size());
      return end == std::string_view::npos || target[end] == '?' ? "/" : target.substr(end);
    }
  }
  return target == "*" && method == "OPTIONS" ? std::optional<std::string_view>("/") : std::nullopt;
}

}  // namespace

void RequestReader::Parser::on_request_impl(beast::http::verb, string_view method,
                                            string_view target, int version, error_code& error) {
  if (target.size() > owner_.limits_->target) {
    error = owner_.refuse(414, "request target too long");
    return;
  }
  if (!origin_form(method, target)) {
    error = owner_.refuse(400, "malformed request target");
    return;
  }
  owner_.method_ = owner_.slice(method);
  owner_.target_ = owner_.slice(target);
  owner_.version_ = version;
}

void RequestReader::Parser::on_field_impl(beast::http::field name, string_view name_text,
                                          string_view value, error_code& error) {
  if (owner_.head_done_) {
    return;  // trailers say nothing we would listen to
  }
  // Beast joins folded lines in a buffer of its own, or skips an empty first one.
  const char* const after_name = name_text.data() + name_text.size();
  if (!within(after_name, value.data(), value.size(), owner_.memory_.data() + owner_.end_) ||
      std::memchr(after_name, '\n', static_cast<std::size_t>(value.data() - after_name)) !=
          nullptr) {
    error = owner_.refuse(400, "folded header line");
    return;
  }
  if (owner_.fields_.size() >= owner_.limits_->headers) {
    error = owner_.refuse(431, "too many header fields");
    return;
  }
  switch (name) {
    case beast::http::field::content_length:
      if (owner_.content_length_ || owner_.transfer_encoding_ || !all_digits(value)) {
        error = owner_.refuse(400, "ambiguous body length");
        return;
      }
      owner_.content_length_ = true;
      break;
    case beast::http::field::transfer_encoding:
      if (owner_.content_length_ || owner_.transfer_encoding_ || owner_.version_ == 10 ||
          !iequals(value, "chunked")) {
        error = owner_.refuse(400, "ambiguous body length");
        return;
      }
      owner_.transfer_encoding_ = true;
      break;
    case beast::http::field::expect:
      owner_.expect_continue_ = owner_.version_ == 11 && iequals(value, "100-continue");
      break;
    default:
      break;
  }
  owner_.fields_.push_back({owner_.slice(name_text), owner_.slice(value)});
}

void RequestReader::Parser::on_header_impl(error_code&) {
  owner_.head_done_ = true;
}

std::size_t RequestReader::Parser::on_body_impl(string_view body, error_code&) {
  const auto at = static_cast<std::size_t>(body.data() - owner_.memory_.data());
  if (owner_.body_begin_ == 0) {
    owner_.body_begin_ = owner_.body_end_ = at;
  }
  if (at != owner_.body_end_) {  // close the gap that a chunk header left
    std::memmove(owner_.memory_.data() + owner_.body_end_, body.data(), body.size());
  }
  owner_.body_end_ += body.size();
  return body.size();
}

std::size_t RequestReader::Parser::on_chunk_body_impl(std::uint64_t, string_view body,
                                                      error_code& error) {
  return on_body_impl(body, error);
}

std::span<char> RequestReader::space() {
  if (memory_.size() - end_ < kFirstBuffer / 4) {
    const std::size_t most = begin_ + limits_->head + limits_->body + kSlack;
    const std::size_t size =
        std::max(kFirstBuffer, std::min(std::max(memory_.size() * 2, end_ + 1), most));
    if (!share_.resize(size)) {
      fail_with(503, "too much is under way");
      return {};
    }
    memory_.resize(size);
  }
  return {memory_.data() + end_, memory_.size() - end_};
}

RequestReader::State RequestReader::fail_with(unsigned status, std::string_view reason) {
  status_ = status;
  reason_ = reason;
  return State::failed;
}

beast::error_code RequestReader::refuse(unsigned status, std::string_view reason) {
  fail_with(status, reason);
  return beast::http::error::bad_value;
}

bool RequestReader::parse_plain_head() {
  const std::string_view bytes(memory_.data() + begin_,
                               std::min(end_ - begin_, limits_->head - skipped_));
  const auto head = read_plain_head(bytes, limits_->headers, headers_);
  if (!head || head->target.size() > limits_->target) {
    return false;
  }
  method_ = slice(head->method);
  target_ = slice(head->target);
  keep_alive_ = head->keep_alive;
  head_done_ = true;
  parsed_ = begin_ + head->size;
  return true;
}

RequestReader::State RequestReader::parse() {
  if (!parser_) {
    // RFC 9112 §2.2: an empty line before the request line is ignored.
    const std::size_t first = begin_;
    while (begin_ < end_ && (memory_[begin_] == '\r' || memory_[begin_] == '\n')) {
      ++begin_;
    }
    skipped_ += begin_ - first;
    if (skipped_ >= limits_->head) {
      return fail_with(431, "empty lines and no request");
    }
    if (begin_ == end_) {
      begin_ = end_ = 0;
      return State::need_more;
    }
    if (parse_plain_head()) {
      return State::complete;
    }
    parsed_ = begin_;
    parser_.emplace(*this);
    parser_->eager(true);
    parser_->header_limit(static_cast<std::uint32_t>(limits_->head - skipped_));
    parser_->body_limit(limits_->body);
  }

  beast::error_code error;
  parsed_ +=
      parser_->put(boost::asio::const_buffer(memory_.data() + parsed_, end_ - parsed_), error);
  if (head_done_ && body_begin_ == 0 && parsed_ - begin_ > limits_->head - skipped_) {
    return fail_with(431, "request head too large");
  }
  if (!error && parser_->is_done()) {
    keep_alive_ = parser_->keep_alive();
    return State::complete;
  }
  if (!error || error == beast::http::error::need_more) {
    if (!head_done_) {
      if (target_.size == 0 && end_ - begin_ > limits_->target + kLongestMethod) {
        return fail_with(414, "request target too long");
      }
      if (end_ - begin_ > limits_->head - skipped_) {
        return fail_with(431, "request head too large");
      }
      return State::need_more;
    }
    if (body_end_ != 0 && parsed_ != body_end_) {  // reclaim the chunk headers
      std::memmove(memory_.data() + body_end_, memory_.data() + parsed_, end_ - parsed_);
      end_ -= parsed_ - body_end_;
      parsed_ = body_end_;
    }
    if (end_ - parsed_ >= kSlack) {
      return fail_with(400, "chunk header or trailer too large");
    }
    return State::need_more;
  }
  if (status_ != 0) {
    return State::failed;  // our own refusal
  }
  if (error == beast::http::error::header_limit) {
    return fail_with(431, "request head too large");
  }
  if (error == beast::http::error::body_limit) {
    return fail_with(413, "request body too large");
  }
  return fail_with(400, "malformed request");
}

bool RequestReader::wants_continue() {
  return head_done_ && std::exchange(expect_continue_, false) && body_begin_ == 0 &&
         parsed_ == end_;
}

Request RequestReader::request(const Peer& peer) {
  if (parser_) {
    headers_.clear();
    for (const Field& field : fields_) {
      headers_.push_back({view(field.name), view(field.value)});
    }
  }
  return {.method = view(method_),
          .target = *origin_form(view(method_), view(target_)),
          .headers = headers_,
          .body = std::string_view(memory_.data() + body_begin_, body_end_ - body_begin_),
          .peer = &peer};
}

void RequestReader::next() {
  if (parsed_ < end_) {
    std::memmove(memory_.data(), memory_.data() + parsed_, end_ - parsed_);
  }
  end_ -= parsed_;
  begin_ = parsed_ = skipped_ = 0;
  parser_.reset();
  method_ = target_ = {};
  fields_.clear();
  version_ = 11;
  head_done_ = keep_alive_ = expect_continue_ = content_length_ = transfer_encoding_ = false;
  body_begin_ = body_end_ = 0;
  status_ = 0;
}

void RequestReader::clear() {
  parsed_ = end_;
  next();
  if (memory_.size() > MemoryShare::kFree) {
    memory_ = {};
    static_cast<void>(share_.resize(0));
  }
}

}  // namespace metatap::http
