// SPDX-License-Identifier: Apache-2.0
#include "http/response_reader.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/ascii.hpp"
#include "base/text.hpp"
#include "http/token.hpp"

namespace metatap::http {
namespace {

constexpr std::size_t kBuffer = 4096;
constexpr std::size_t kHeadLimit = 64 * 1024;
constexpr std::size_t kFieldLimit = 200;
constexpr std::size_t kFirstBody = MemoryShare::kFree;

template <class Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number value{};
  const auto* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || error != std::errc{} || stop != end) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

void ResponseReader::begin(bool head) {
  head_ = head;
  at_ = end_ = body_size_ = left_ = head_bytes_ = 0;
  body_ = {};
  static_cast<void>(share_.resize(0));
  out_of_memory_ = false;
  part_ = Part::status;
  started_ = chunked_ = close_ = false;
  keep_alive_ = true;
  status_ = 0;
  content_length_.reset();
  text_.clear();
  fields_.clear();
}

std::span<char> ResponseReader::space() {
  if (part_ == Part::sized && at_ == end_) {  // straight to where it belongs
    return {body_.data() + body_size_, body_.size() - body_size_};
  }
  if (at_ == end_) {
    at_ = end_ = 0;
  }
  if (in_.size() - end_ < kBuffer / 2) {
    if (at_ != 0) {
      std::memmove(in_.data(), in_.data() + at_, end_ - at_);
      end_ -= at_;
      at_ = 0;
    }
    if (in_.size() - end_ < kBuffer / 2) {
      in_.resize(std::min(std::max(kBuffer, in_.size() * 2), end_ + 16 * kBuffer));
    }
  }
  return {in_.data() + end_, in_.size() - end_};
}

ResponseReader::State ResponseReader::received(std::size_t bytes) {
  started_ = started_ || bytes != 0;
  if (part_ == Part::sized && at_ == end_) {
    body_size_ += bytes;
    left_ -= bytes;
  } else {
    end_ += bytes;
  }
  return parse();
}

ResponseReader::State ResponseReader::finish() {
  keep_alive_ = false;
  if (part_ == Part::to_end) {
    part_ = Part::done;
  }
  return part_ == Part::done ? State::complete : State::failed;
}

Body ResponseReader::take_body() {
  if (share_.counted() == 0) {
    return Body(std::move(body_));
  }
  struct Counted {
    std::string bytes;
    MemoryShare share;
  };
  auto budget = share_.budget();
  auto held = std::make_shared<const Counted>(std::move(body_), std::move(share_));
  share_ = MemoryShare(std::move(budget));
  return Body(std::shared_ptr<const std::string>(held, &held->bytes));
}

bool ResponseReader::reserve(std::size_t size) {
  if (size <= body_.capacity()) {
    return true;
  }
  const std::size_t most = content_length_.value_or(body_limit_);
  const std::size_t room =
      std::max(size, std::min(std::max(kFirstBody, 2 * body_.capacity()), most));
  if (!share_.resize(room)) {
    out_of_memory_ = true;
    return false;
  }
  std::string larger;  // reserve() would take more than was asked for
  larger.reserve(room);
  larger.append(body_);
  body_ = std::move(larger);
  return true;
}

std::optional<std::string_view> ResponseReader::header(std::string_view name) const {
  const std::string_view text = text_;
  for (const Field& field : fields_) {
    if (iequals(text.substr(field.name, field.value - field.name), name)) {
      return text.substr(field.value, field.end - field.value);
    }
  }
  return std::nullopt;
}

std::optional<std::string_view> ResponseReader::line() {
  const auto* const first = in_.data() + at_;
  const auto* const end = static_cast<const char*>(std::memchr(first, '\n', end_ - at_));
  if (end == nullptr) {
    return std::nullopt;
  }
  std::string_view text(first, static_cast<std::size_t>(end - first));
  at_ += text.size() + 1;
  head_bytes_ += text.size() + 1;
  if (text.ends_with('\r')) {
    text.remove_suffix(1);
  }
  return text;
}

bool ResponseReader::status_line(std::string_view text) {
  // HTTP/1.x SP 3DIGIT [SP reason]
  if (!single_line(text) || text.size() < 12 ||
      !(text.starts_with("HTTP/1.0 ") || text.starts_with("HTTP/1.1 ")) ||
      (text.size() > 12 && text[12] != ' ')) {
    return false;
  }
  const auto code = number<unsigned>(text.substr(9, 3));
  if (!code || *code < 100) {
    return false;
  }
  status_ = *code;
  http_1_0_ = text[7] == '0';
  keep_alive_ = !http_1_0_;
  return true;
}

bool ResponseReader::field(std::string_view text) {
  const auto colon = text.find(':');
  const auto name = text.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name) || !single_line(text) ||
      fields_.size() == kFieldLimit) {
    return false;  // the continuation of a folded line as well: its name begins with a space
  }
  const auto value = trimmed(text.substr(colon + 1));
  if (iequals(name, "Content-Length")) {
    const auto length = number<std::size_t>(value);
    if (!length || (content_length_ && *content_length_ != *length)) {
      return false;
    }
    content_length_ = length;
  } else if (iequals(name, "Transfer-Encoding")) {
    if (chunked_ || http_1_0_ || !iequals(value, "chunked")) {
      return false;
    }
    chunked_ = true;
  } else if (iequals(name, "Connection")) {
    close_ = close_ || icontains(value, "close");
    keep_alive_ = !close_ && (keep_alive_ || icontains(value, "keep-alive"));
  }
  const std::size_t start = text_.size();
  text_ += name;
  text_ += value;
  fields_.push_back({start, start + name.size(), text_.size()});
  return true;
}

bool ResponseReader::head_done() {
  if (status_ < 200) {  // interim: the real one follows; we never ask to switch protocols
    text_.clear();
    fields_.clear();
    content_length_.reset();
    chunked_ = false;
    close_ = false;
    part_ = Part::status;
    return status_ != 101;
  }
  if (chunked_ && content_length_) {
    return false;  // whom the body ends for is a matter of taste: a smuggler's
  }
  if (status_ == 204 && (chunked_ || content_length_.value_or(0) != 0)) {
    keep_alive_ = false;  // it has no body, and says that one follows
  }
  if (head_ || status_ == 204 || status_ == 304) {
    part_ = Part::done;
  } else if (chunked_) {
    part_ = Part::chunk_size;
  } else if (content_length_) {
    if (*content_length_ > body_limit_) {
      return false;
    }
    left_ = *content_length_;
    part_ = left_ == 0 ? Part::done : Part::sized;
  } else {
    part_ = Part::to_end;
  }
  return true;
}

ResponseReader::State ResponseReader::parse() {
  while (part_ != Part::done) {
    const auto stop = part_ == Part::status || part_ == Part::fields ? read_head()
                      : part_ == Part::sized                         ? read_sized()
                      : part_ == Part::to_end                        ? read_to_end()
                                                                     : read_chunked();
    if (stop) {
      return *stop;
    }
  }
  if (at_ != end_) {
    keep_alive_ = false;  // what follows belongs to nobody
  }
  return State::complete;
}

std::optional<ResponseReader::State> ResponseReader::read_head() {
  const auto text = line();
  if (head_bytes_ + (end_ - at_) > kHeadLimit && (!text || head_bytes_ > kHeadLimit)) {
    return State::failed;
  }
  if (!text) {
    return State::need_more;
  }
  if (part_ == Part::status) {
    if (!status_line(*text)) {
      return State::failed;
    }
    part_ = Part::fields;
  } else if (text->empty() ? !head_done() : !field(*text)) {
    return State::failed;
  }
  return std::nullopt;
}

/// Room for more of a sized body.
bool ResponseReader::grow() {
  if (body_size_ == body_.size()) {
    if (!reserve(body_size_ + 1)) {
      return false;
    }
    body_.resize(std::min(body_.capacity(), body_size_ + left_));
  }
  return true;
}

std::optional<ResponseReader::State> ResponseReader::read_sized() {
  while (left_ != 0) {
    if (!grow()) {
      return State::failed;
    }
    if (at_ == end_) {
      return State::need_more;
    }
    const std::size_t step = std::min(end_ - at_, body_.size() - body_size_);
    std::memcpy(body_.data() + body_size_, in_.data() + at_, step);
    at_ += step;
    body_size_ += step;
    left_ -= step;
  }
  part_ = Part::done;
  return std::nullopt;
}

std::optional<ResponseReader::State> ResponseReader::read_to_end() {
  const std::size_t size = body_.size() + (end_ - at_);
  if (size > body_limit_ || !reserve(size)) {
    return State::failed;
  }
  body_.append(in_.data() + at_, end_ - at_);
  at_ = end_;
  return State::need_more;
}

std::optional<ResponseReader::State> ResponseReader::read_chunked() {
  if (part_ == Part::chunk) {
    const std::size_t step = std::min(left_, end_ - at_);
    if (!reserve(body_.size() + step)) {
      return State::failed;
    }
    body_.append(in_.data() + at_, step);
    at_ += step;
    left_ -= step;
    if (left_ != 0) {
      return State::need_more;
    }
    part_ = Part::chunk_end;
    return std::nullopt;
  }
  const auto text = line();
  const std::size_t waiting = text ? 0 : end_ - at_;
  if (part_ == Part::trailer ? head_bytes_ + waiting > kBuffer
                             : waiting > (part_ == Part::chunk_end ? 1 : kBuffer)) {
    return State::failed;
  }
  if (!text) {
    return State::need_more;
  }
  const bool good = part_ == Part::chunk_size  ? chunk_begins(*text)
                    : part_ == Part::chunk_end ? chunk_ends(*text)
                                               : trailer(*text);
  return good ? std::nullopt : std::optional(State::failed);
}

bool ResponseReader::chunk_begins(std::string_view text) {
  const auto size = number<std::size_t>(trimmed(text.substr(0, text.find(';'))), 16);
  if (!size || !single_line(text) || *size > body_limit_ - body_.size()) {
    return false;
  }
  left_ = *size;
  part_ = left_ == 0 ? Part::trailer : Part::chunk;
  head_bytes_ = 0;
  return true;
}

bool ResponseReader::chunk_ends(std::string_view text) {
  part_ = Part::chunk_size;
  return text.empty();
}

bool ResponseReader::trailer(std::string_view text) {
  if (text.empty()) {
    part_ = Part::done;
    return true;
  }
  const auto colon = text.find(':');
  return colon != std::string_view::npos && single_line(text) && is_token(text.substr(0, colon));
}

}  // namespace metatap::http
