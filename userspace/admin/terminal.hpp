// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "admin/cli.hpp"
#include "metatap/result.hpp"

/// One run of `metatap`: where it reads and writes, and what all of its commands do alike.
namespace metatap::admin {

/// What standard output can show. Not a terminal: no width, no colours.
struct Screen {
  bool terminal = false;
  bool colours = false;            ///< a terminal that is not dumb, and NO_COLOR is not set
  unsigned columns = 0, rows = 0;  ///< 0: no bound
  /// As it is now; a window may change.
  static Screen of_stdout();
  /// As much of the text as is seen at once, so that its beginning stays in sight. Lines that are
  /// too long go on in the next one.
  [[nodiscard]] std::string first_of(std::string_view text) const;
};

enum class Colour : std::uint8_t { plain, green, yellow, red, bold };

class Terminal {
 public:
  using Json = nlohmann::ordered_json;
  using Show = std::function<std::string(const Json&)>;

  Terminal(std::istream& in, std::ostream& out, std::ostream& err)
      : in_(in), out_(out), err_(err) {}

  std::string socket = "/run/metatap/admin.sock";
  bool json = false;
  /// Ask and show again and again, with such a pause.
  std::optional<std::chrono::milliseconds> again;

  /// Says why, on standard error, and as JSON too where that is wanted.
  [[nodiscard]] Exit failed(const Error& error) const;
  /// Of the daemon, as JSON.
  [[nodiscard]] Result<Json> call(std::string_view method, const std::string& target,
                                  std::string_view body = {}) const;
  /// Calls the daemon; `show` makes text of its answer for a person, to which `amend` has added
  /// what we know better. Again and again if so told, until somebody ends it, or nobody reads any
  /// more; then `judge` of the last answer is what it returns.
  [[nodiscard]] Exit ask(
      const std::string& target, const Show& show,
      const std::function<Exit(const Json&)>& judge = [](const Json&) { return Exit::done; },
      const std::function<void(Json&)>& amend = [](Json&) {}) const;
  /// The same for what is not only looked at: once.
  [[nodiscard]] Exit request(std::string_view method, const std::string& target,
                             const Show& show) const;

  /// False: nobody reads it any more.
  bool print(const Json& value, const Show& show) const;
  bool write(std::string_view text) const;
  void complain(std::string_view text) const;
  [[nodiscard]] std::string paint(std::string_view text, Colour colour) const;

  /// The file's contents; "-" is standard input.
  [[nodiscard]] Result<std::string> read(const std::string& file) const;

 private:
  std::istream& in_;
  std::ostream& out_;
  std::ostream& err_;
};

/// Seconds since 1970.
[[nodiscard]] std::int64_t seconds_now();

/// Whether somebody wants the program to end (SIGINT, SIGTERM), from the first call on.
[[nodiscard]] bool told_to_end();
/// False: told to end meanwhile.
bool pause_for(std::chrono::milliseconds time);

}  // namespace metatap::admin
