// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace metatap::http {

/// Reads one response from an upstream, taking what real ones send: CRLF or bare LF, HTTP/1.0 or
/// 1.1 status lines, interim 1xx answers, bodies by Content-Length, chunked, or up to the end of
/// the connection. (Neutron's agent since 2025.1 writes its own errors with bare LF.)
///
/// What leaves open where the body ends fails: Content-Length beside Transfer-Encoding, two lengths
/// or one that is not a plain number, a coding but chunked alone, chunks in HTTP/1.0, folded lines,
/// CR or NUL within a line. Bytes after the end are no failure, but spoil the connection.
class ResponseReader {
 public:
  enum class State : std::uint8_t { need_more, complete, failed };

  explicit ResponseReader(std::size_t body_limit) : body_limit_(body_limit) {}

  /// Makes ready for the next response, keeping the memory. `head`: it answers a HEAD request and
  /// has no body whatever it says.
  void begin(bool head);

  /// Room for the next bytes; never empty.
  [[nodiscard]] std::span<char> space();
  State received(std::size_t bytes);
  /// The connection ended.
  State finish();

  /// Not a single byte came.
  [[nodiscard]] bool empty() const { return !started_; }

  // After State::complete.
  [[nodiscard]] unsigned status() const { return status_; }
  /// The first header of that name; valid until begin().
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
  [[nodiscard]] std::optional<std::size_t> content_length() const { return content_length_; }
  [[nodiscard]] std::string take_body() { return std::move(body_); }
  /// Whether the connection can carry another exchange.
  [[nodiscard]] bool keep_alive() const { return keep_alive_; }

 private:
  enum class Part : std::uint8_t {
    status,
    fields,
    sized,
    chunk_size,
    chunk,
    chunk_end,
    trailer,
    to_end,
    done
  };
  State parse();
  // One step each: nullopt to go on with the part that is next.
  std::optional<State> read_head();
  std::optional<State> read_sized();
  std::optional<State> read_chunked();
  std::optional<State> read_to_end();
  /// The next line without its end, or nullopt if it is not there yet.
  std::optional<std::string_view> line();
  bool status_line(std::string_view text);
  bool field(std::string_view text);
  bool head_done();
  bool chunk_begins(std::string_view text);
  bool chunk_ends(std::string_view text);
  bool trailer(std::string_view text);

  const std::size_t body_limit_;
  bool head_ = false;
  std::string in_;  // bytes not yet understood: [at_, end_)
  std::size_t at_ = 0, end_ = 0;
  std::string body_;
  std::size_t body_size_ = 0;  // of body_, what is received
  std::size_t left_ = 0;       // of a sized body or chunk
  Part part_ = Part::status;
  bool started_ = false, http_1_0_ = false, chunked_ = false;
  bool keep_alive_ = true, close_ = false;
  std::size_t head_bytes_ = 0;
  unsigned status_ = 0;
  std::optional<std::size_t> content_length_;
  struct Field {
    std::size_t name, value, end;  // in text_
  };
  std::string text_;  // names and values, one after the other
  std::vector<Field> fields_;
};

}  // namespace metatap::http
