// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "metatap/origin.hpp"
#include "metatap/path_class.hpp"

/// What stands in the ledger: one JSON object a record, of which "kind" says what it tells of.
/// docs/ledger.md has all keys.
namespace metatap::ledger {

using Json = nlohmann::ordered_json;

/// What a request said of session tokens.
enum class Token : std::uint8_t {
  unread,  ///< nobody looked: there are no tokens, or it was refused before
  none,
  valid,
  invalid,
};

/// What became of a request.
enum class Verdict : std::uint8_t {
  answered,
  refused,  ///< by the proxy itself, for the reason that stands beside it
  failed,   ///< by the stages behind: an error, or there is no such thing
  cut,      ///< the connection ended before the answer was whole; some of it may have been read
};
[[nodiscard]] std::string_view name_of(Token token);
[[nodiscard]] std::string_view name_of(Verdict verdict);
/// nullopt: no verdict is called so.
[[nodiscard]] std::optional<Verdict> verdict_of(std::string_view name);

/// One answer. Nothing in it is the guest's to choose but which of few words it is.
struct Answer {
  std::int64_t at = 0;    ///< milliseconds of CLOCK_BOOTTIME
  std::size_t bytes = 0;  ///< of its body
  unsigned status = 0;
  PathClass path = PathClass::malformed;
  Token token = Token::unread;
  Verdict verdict = Verdict::answered;
  std::string_view method = "-";  ///< known_method()
  std::string_view reason;  ///< a word of the proxy's own; empty: the stages behind were asked
};

/// Its part of an entry: "method", "path" and what follows them.
void describe(Json& entry, const Answer& answer);

/// To whom it was given.
struct Access : Answer {
  std::shared_ptr<const Origin> origin;
  std::string instance;  ///< empty: not known
  std::string address;
};

/// The method, or "other": guests may send any word.
[[nodiscard]] std::string_view known_method(std::string_view method);
/// What was asked for, however it was spelt: the target is read as the API reads it.
[[nodiscard]] PathClass known_path(std::string_view target);

/// "2026-11-26T12:13:44.123Z", of a moment of CLOCK_BOOTTIME as the clock has it now.
[[nodiscard]] std::string time_text(std::int64_t at);
/// The same of milliseconds since 1970.
[[nodiscard]] std::string time_text_of_epoch(std::int64_t milliseconds);

/// The entry of an answer, and of what happens to the ledger itself: {"time":…,"up_ms":…,"kind":…,
/// …}. They become records by next_line().
[[nodiscard]] std::string entry_of(const Access& access);
[[nodiscard]] std::string entry_of(std::string_view kind, const Json& fields = Json::object());

inline constexpr std::string_view kAccess = "access";
/// A file begins; "previous" is the link that its first record goes on from.
inline constexpr std::string_view kFile = "file";
/// A process begins to write, and the last one that did has ended.
inline constexpr std::string_view kStart = "start", kEnd = "end";
/// Records are missing; "lost" is how many, null where nobody knows, and "reason" says why.
inline constexpr std::string_view kGap = "gap";

}  // namespace metatap::ledger
