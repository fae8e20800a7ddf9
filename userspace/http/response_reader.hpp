// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/memory_budget.hpp"
#include "metatap/exchange.hpp"

namespace metatap::http {

/// Reads one response from an upstream, taking what real ones send: CRLF or bare LF, HTTP/1.0 or
/// 1.1 status lines, interim 1xx answers, bodies by Content-Length, chunked, or up to the end of
/// the connection. (Neutron's agent since 2025.1 writes its own errors with bare LF.)
///
/// What leaves open where the body ends fails: Content-Length beside Transfer-Encoding, two lengths
/// or one that is not a plain number, a coding but chunked alone, chunks in HTTP/1.0, folded lines,
/// CR or NUL within a line. Bytes after the end are no failure, but spoil the connection.
///
/// The body's memory grows with what has come, by doubling, and never by what is announced; beyond
/// a few KB it is counted against the budget until the last copy of the body has gone.
class ResponseReader {
 public:
  enum class State : std::uint8_t { need_more, complete, failed };

  explicit ResponseReader(std::size_t body_limit, std::shared_ptr<MemoryBudget> budget = nullptr)
      : body_limit_(body_limit), share_(std::move(budget)) {}

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
  /// After State::failed: not the upstream's fault; there was nothing left of the budget.
  [[nodiscard]] bool out_of_memory() const { return out_of_memory_; }

  // After State::complete.
  [[nodiscard]] unsigned status() const { return status_; }
  /// The first header of that name; valid until begin().
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const;
  [[nodiscard]] std::optional<std::size_t> content_length() const { return content_length_; }
  [[nodiscard]] Body take_body();
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
  /// Makes room for a body of so many bytes.
  bool reserve(std::size_t size);
  bool grow();
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
  MemoryShare share_;  // of body_
  bool out_of_memory_ = false;
  bool head_ = false;
  std::string in_;  // bytes not yet understood: [at_, end_)
  std::size_t at_ = 0, end_ = 0;
  std::string body_;           // of a sized one more than is there: room for what comes next
  std::size_t body_size_ = 0;  // of a sized body, what is received
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
