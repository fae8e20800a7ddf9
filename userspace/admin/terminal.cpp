// SPDX-License-Identifier: Apache-2.0
#include "admin/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>
#include <thread>

#include "admin/client.hpp"
#include "admin/table.hpp"
#include "base/duration_text.hpp"

namespace metatap::admin {
namespace {

volatile std::sig_atomic_t g_end = 0;

/// Without SA_RESTART, so that what waits comes back.
void watch_signals() {
  static const bool watched = [] {
    struct sigaction action{};
    action.sa_handler = [](int) { g_end = 1; };
    for (const int number : {SIGINT, SIGTERM}) {
      ::sigaction(number, &action, nullptr);
    }
    return true;
  }();
  static_cast<void>(watched);
}

std::string text_of(const Terminal::Json& value) {
  return value.dump(2, ' ', false, Terminal::Json::error_handler_t::replace) + "\n";
}

bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

std::string_view code_of(Colour colour) {
  switch (colour) {
    case Colour::green:
      return "32";
    case Colour::yellow:
      return "33";
    case Colour::red:
      return "31";
    case Colour::bold:
    case Colour::plain:
      break;
  }
  return "1";
}

}  // namespace

Screen Screen::of_stdout() {
  Screen screen;
  screen.terminal = ::isatty(STDOUT_FILENO) == 1;
  const char* const name = std::getenv("TERM");
  const bool dumb = name == nullptr || std::string_view(name) == "dumb";
  screen.colours = screen.terminal && !dumb && std::getenv("NO_COLOR") == nullptr;
  winsize size{};
  if (screen.terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    screen.columns = size.ws_col;
    screen.rows = size.ws_row;
  }
  return screen;
}

std::int64_t seconds_now() {
  return seconds_of(std::chrono::system_clock::now());
}

std::string Screen::first_of(std::string_view text) const {
  if (rows < 2 || columns == 0) {
    return std::string(text);
  }
  unsigned row = 1, column = 0;
  bool code = false;  // which ends with a letter and takes no room
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\n') {
      ++row;
      column = 0;
    } else if (c == '\x1b' || code) {
      code = c == '\x1b' || !is_letter(c);
    } else if (begins_character(c) && ++column > columns) {
      ++row;
      column = 1;
    }
    if (row >= rows) {
      return std::string(text.substr(0, c == '\n' ? at + 1 : at));
    }
  }
  return std::string(text);
}

bool told_to_end() {
  watch_signals();
  return g_end != 0;
}

bool pause_for(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (!told_to_end()) {
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= left.zero()) {
      return true;
    }
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(50)));
  }
  return false;
}

Exit Terminal::failed(const Error& error) const {
  if (json) {
    write(text_of({{"error", {{"message", error.message}}}}));
  }
  complain(error.message);
  return exit_for(error);
}

Result<Terminal::Json> Terminal::call(std::string_view method, const std::string& target,
                                      std::string_view body) const {
  const auto answer = AdminClient(socket).call(method, target, body);
  if (!answer) {
    return tl::make_unexpected(answer.error());
  }
  auto value = Json::parse(*answer, nullptr, false);
  if (value.is_discarded()) {
    return fail(ErrorCode::internal, "metatapd's answer is not JSON");
  }
  return value;
}

Exit Terminal::ask(const std::string& target, const Show& show,
                   const std::function<Exit(const Json&)>& judge,
                   const std::function<void(Json&)>& amend) const {
  constexpr std::string_view kClear = "\x1b[H\x1b[2J";
  for (;;) {
    auto answer = call("GET", target);
    if (!answer) {
      return failed(answer.error());
    }
    amend(*answer);
    const auto screen = Screen::of_stdout();
    const bool redraw = again && screen.terminal && !json;
    const bool shown =
        redraw ? write(std::string(kClear) + screen.first_of(show(*answer))) : print(*answer, show);
    if (!shown) {
      return Exit::nobody_reads;
    }
    if (!again || !pause_for(*again)) {
      return judge(*answer);
    }
    if (!redraw && !write("\n")) {
      return Exit::nobody_reads;
    }
  }
}

Exit Terminal::request(std::string_view method, const std::string& target, const Show& show) const {
  const auto answer = call(method, target);
  if (!answer) {
    return failed(answer.error());
  }
  return print(*answer, show) ? Exit::done : Exit::nobody_reads;
}

bool Terminal::print(const Json& value, const Show& show) const {
  return write(json ? text_of(value) : show(value));
}

bool Terminal::write(std::string_view text) const {
  out_.write(text.data(), static_cast<std::streamsize>(text.size()));
  out_.flush();
  return out_.good();
}

void Terminal::complain(std::string_view text) const {
  err_ << "metatap: " << text << "\n";
}

std::string Terminal::paint(std::string_view text, Colour colour) const {
  if (colour == Colour::plain || &out_ != &std::cout || !Screen::of_stdout().colours) {
    return std::string(text);
  }
  return "\x1b[" + std::string(code_of(colour)) + "m" + std::string(text) + "\x1b[0m";
}

Result<std::string> Terminal::read(const std::string& file) const {
  if (file == "-") {
    return std::string{std::istreambuf_iterator<char>(in_), std::istreambuf_iterator<char>()};
  }
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    return fail(ErrorCode::invalid, "read " + file + ": " + std::generic_category().message(errno));
  }
  return std::string{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace metatap::admin
