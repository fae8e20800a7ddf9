// SPDX-License-Identifier: Apache-2.0
#include "admin/top_command.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "admin/table.hpp"

namespace metatap::admin {
namespace {

using Json = TopMeter::Json;

constexpr std::chrono::milliseconds kRound{2000};

struct Column {
  char key;
  TopOrder order;
  const char* title;
  double PortRate::* rate;  ///< null: a time
  std::int64_t PortRate::* time;
};
constexpr std::array kColumns{
    Column{'r', TopOrder::requests, "REQ/S", &PortRate::requests, nullptr},
    Column{'5', TopOrder::p50, "P50 US", nullptr, &PortRate::p50},
    Column{'9', TopOrder::p99, "P99 US", nullptr, &PortRate::p99},
    Column{'e', TopOrder::errors, "ERR/S", &PortRate::errors, nullptr},
    Column{'d', TopOrder::refused, "REFUSED/S", &PortRate::refused, nullptr},
    Column{'b', TopOrder::bytes, "BYTES/S", &PortRate::bytes, nullptr},
};

double value_of(const PortRate& rate, const Column& column) {
  return column.rate != nullptr ? rate.*column.rate : static_cast<double>(rate.*column.time);
}

std::string cell(const PortRate& rate, const Column& column) {
  constexpr double kWhole = 100;  // from here on nobody cares for a tenth
  const double value = value_of(rate, column);
  if (value == 0) {
    return "";
  }
  return column.rate != nullptr && value < kWhole ? fmt::format("{:.1f}", value)
                                                  : fmt::format("{:.0f}", value);
}

const Column& column_of(TopOrder order) {
  return *std::ranges::find(kColumns, order, &Column::order);
}

std::int64_t quantile(std::vector<std::int64_t>& times, unsigned percent) {
  if (times.empty()) {
    return 0;
  }
  const auto at = times.begin() + static_cast<std::ptrdiff_t>((times.size() - 1) * percent / 100);
  std::ranges::nth_element(times, at);
  return *at;
}

/// Keys one by one and without echo, for as long as it lives.
class Keys {
 public:
  Keys() : on_(::isatty(STDIN_FILENO) == 1 && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (on_) {
      auto raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
  }
  ~Keys() {
    if (on_) {
      ::tcsetattr(STDIN_FILENO, TCSANOW, &before_);
    }
  }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;
  /// Waits so long for one. Without a keyboard: just waits.
  [[nodiscard]] std::optional<char> wait(std::chrono::milliseconds time) const {
    pollfd keyboard{on_ ? STDIN_FILENO : -1, POLLIN, 0};
    char key = 0;
    if (::poll(&keyboard, 1, static_cast<int>(time.count())) == 1 &&
        ::read(STDIN_FILENO, &key, 1) == 1) {
      return key;
    }
    return std::nullopt;
  }

 private:
  termios before_{};
  bool on_;
};

/// What is asked of the daemon in a round.
class Round {
 public:
  explicit Round(const Terminal& terminal) : terminal_(terminal) {}

  Status listen() {
    const auto chunk = terminal_.call("GET", target_);
    if (!chunk) {
      return tl::make_unexpected(chunk.error());
    }
    target_ = "/v1/trace?after=" + std::to_string(chunk->value("next", std::uint64_t{0}));
    meter_.note_lost(chunk->value("lost", std::uint64_t{0}));
    for (const auto& line : chunk->value("lines", Json::array())) {
      meter_.note(line);
    }
    return {};
  }
  Result<std::vector<PortRate>> rates() {
    const auto ports = terminal_.call("GET", "/v1/ports");
    if (!ports) {
      return tl::make_unexpected(ports.error());
    }
    const auto now = std::chrono::steady_clock::now();
    return meter_.rates(*ports, now - std::exchange(began_, now));
  }

 private:
  const Terminal& terminal_;
  TopMeter meter_;
  std::string target_ = "/v1/trace";
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

Json json_of(const std::vector<PortRate>& rates) {
  Json rows = Json::array();
  for (const auto& one : rates) {
    rows.push_back({{"port", one.port},
                    {"name", one.name},
                    {"requests", one.requests},
                    {"errors", one.errors},
                    {"p50_us", one.p50},
                    {"p99_us", one.p99},
                    {"bytes", one.bytes},
                    {"refused", one.refused}});
  }
  return rows;
}

bool show(const Terminal& terminal, std::vector<PortRate> rates, TopOrder order) {
  sort_by(rates, order);
  const auto screen = Screen::of_stdout();
  if (terminal.json) {
    return terminal.write(json_of(rates).dump(-1, ' ', false, Json::error_handler_t::replace) +
                          "\n");
  }
  const auto text = top_text(rates, order, screen.columns, screen.rows);
  return terminal.write(screen.terminal ? "\x1b[H\x1b[2J" + text : text + "\n");
}

}  // namespace

void TopMeter::note(const Json& line) {
  if (line.value("kind", "") != "request") {
    return;
  }
  auto& port = requests_[line.value("port", "")];
  port.times.push_back(line.value("total_us", std::int64_t{0}));
  port.errors += line.value("status", 0) >= 400 ? 1 : 0;
  ++seen_;
}

std::vector<PortRate> TopMeter::rates(const Json& ports, std::chrono::duration<double> time) {
  const double seconds = std::max(time.count(), 0.001);
  const double share = seen_ == 0 ? 1 : 1 + static_cast<double>(lost_) / static_cast<double>(seen_);
  std::vector<PortRate> all;
  std::map<std::string, Traffic> now;
  for (const auto& row : ports) {
    PortRate one;
    one.port = row.value("id", "");
    one.name = row.contains("instance") ? row.value("instance", "") : row.value("device", "");
    const auto traffic = row.value("traffic", Json::object());
    auto& its = now[one.port];
    its.bytes =
        traffic.value("bytes", std::uint64_t{0}) + traffic.value("answer_bytes", std::uint64_t{0});
    its.refused = traffic.value("refused", std::uint64_t{0});
    if (const auto was = before_.find(one.port); was != before_.end() &&
                                                 its.bytes >= was->second.bytes &&
                                                 its.refused >= was->second.refused) {
      one.bytes = static_cast<double>(its.bytes - was->second.bytes) / seconds;
      one.refused = static_cast<double>(its.refused - was->second.refused) / seconds;
    }
    if (const auto found = requests_.find(one.port); found != requests_.end()) {
      auto& [times, errors] = found->second;
      one.requests = static_cast<double>(times.size()) * share / seconds;
      one.errors = static_cast<double>(errors) * share / seconds;
      one.p50 = quantile(times, 50);
      one.p99 = quantile(times, 99);
    }
    all.push_back(std::move(one));
  }
  before_ = std::move(now);
  requests_.clear();
  seen_ = lost_ = 0;
  return all;
}

void sort_by(std::vector<PortRate>& rates, TopOrder order) {
  const auto& column = column_of(order);
  std::ranges::stable_sort(rates, std::greater<>(),
                           [&](const PortRate& rate) { return value_of(rate, column); });
}

std::string top_text(const std::vector<PortRate>& rates, TopOrder order, unsigned columns,
                     unsigned rows) {
  constexpr std::size_t kName = 12, kWidth = 10, kGap = 1;
  std::vector<const Column*> chosen{&column_of(order)};
  std::size_t left = columns == 0 ? SIZE_MAX : columns;
  const auto take = [&](std::size_t width) {
    const bool fits = left > width;
    left -= fits ? width + kGap : 0;
    return fits;
  };
  const auto name = std::min(kName, left > kWidth + kGap ? left - kWidth - kGap : std::size_t{4});
  static_cast<void>(take(name));
  static_cast<void>(take(kWidth));
  for (const auto& column : kColumns) {
    if (column.order != order && take(kWidth)) {
      chosen.push_back(&column);
    }
  }
  const auto cut = [](std::string text, std::size_t width) {
    text.resize(std::min(text.size(), width));
    return text;
  };
  std::string text = fmt::format("{:{}}", cut("PORT", name), name);
  for (const auto* column : chosen) {
    text += fmt::format(" {:>{}}", column->title, kWidth);
  }
  text += "\n";
  const std::size_t most = rows < 2 ? rates.size() : std::min<std::size_t>(rates.size(), rows - 2);
  for (const auto& rate : std::span(rates).first(most)) {
    text += fmt::format("{:{}}", cut(cell_of(rate.name), name), name);
    for (const auto* column : chosen) {
      text += fmt::format(" {:>{}}", cell(rate, *column), kWidth);
    }
    text += "\n";
  }
  return text;
}

Exit top(const Terminal& terminal, std::uint64_t rounds) {
  const Keys keys;
  Round round(terminal);
  auto order = TopOrder::requests;
  if (auto first = round.rates(); !first) {
    return terminal.failed(first.error());
  }
  std::vector<PortRate> rates;
  for (std::uint64_t done = 0; rounds == 0 || done < rounds; ++done) {
    const auto until = std::chrono::steady_clock::now() + kRound;
    while (std::chrono::steady_clock::now() < until) {
      if (auto heard = round.listen(); !heard) {
        return terminal.failed(heard.error());
      }
      const auto key = keys.wait(std::chrono::milliseconds(100));
      if (key == 'q' || told_to_end()) {
        return Exit::done;
      }
      const auto* const column = std::ranges::find(kColumns, key.value_or('\0'), &Column::key);
      if (column != kColumns.end()) {
        order = column->order;
        if (!rates.empty() && !show(terminal, rates, order)) {
          return Exit::nobody_reads;
        }
      }
    }
    auto now = round.rates();
    if (!now) {
      return terminal.failed(now.error());
    }
    rates = *std::move(now);
    if (!show(terminal, rates, order)) {
      return Exit::nobody_reads;
    }
  }
  return Exit::done;
}

}  // namespace metatap::admin
