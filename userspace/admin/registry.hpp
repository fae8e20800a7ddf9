// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "admin/metrics.hpp"
#include "metatap/exchange.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"
#include "metatap/view.hpp"

namespace metatap::admin {

using Json = nlohmann::ordered_json;

/// The code of the error that answers a call nobody knows.
inline constexpr std::string_view kUnknownCall = "unknown_call";

/// One request of the operator.
struct Call {
  std::string method, path;
  std::vector<std::string> parts;  ///< what each {} of the pattern matched, decoded
  std::map<std::string, std::string, std::less<>> query;
  std::string body;
  std::string who;  ///< asks, as the kernel says: "uid 0, pid 77"

  /// Whether a flag is in the query and not 0 or false.
  [[nodiscard]] bool flag(std::string_view name) const;
};

/// One thing `metatap doctor` has to say.
struct Finding {
  enum class Severity : std::uint8_t { ok, note, warning, error };
  Severity severity = Severity::ok;
  std::string subject;  ///< what was looked at: "bpf", "qrouter-…"
  std::string message;  ///< what was found
  std::string advice;   ///< what to do about it; may be empty
  /// Where that is known; else it is since somebody first looked and found it.
  std::chrono::system_clock::time_point since{};
};

/// What the admin socket can show and do. The stages know nothing of it: the wiring registers, on
/// their behalf, functions that look at them. Filled before the server starts, read-only then;
/// every function is called on the control thread and must not block for long.
class Registry {
 public:
  /// A section of `metatap status`: an object of values, lists of objects become tables. What is
  /// added under one name, here or elsewhere, is one section. Names that end in _s are spans in
  /// seconds, those in _at seconds since 1970.
  void add_status(std::string name, std::function<Json()> show);
  void add_metrics(std::function<void(Metrics&)> collect);
  /// What is known of a port beyond the inventory, merged into its row in `metatap ports`.
  void add_port_facts(std::function<Json(const Port&)> facts);
  enum class Pace : bool { quick, slow };
  /// `slow`: takes so long that it is looked at only when somebody asks.
  void add_findings(std::function<std::vector<Finding>()> look, Pace pace = Pace::quick);
  /// Called each time that keep_findings() is.
  void add_watch(std::function<void()> look);
  /// To be called every few seconds: looks now and then, so that it is known since when something
  /// is so.
  void keep_findings();
  /// How guests fare while something is wrong.
  enum class Guests : bool {
    unserved,  ///< some get no answer, or not theirs
    served,    ///< from what is known
  };
  /// A sentence while something is wrong, else empty: /healthz then answers 503, and /readyz if
  /// guests are not served.
  void add_health(std::string name, std::function<std::string()> problem,
                  Guests guests = Guests::unserved);
  /// What /healthz says besides, though guests are served.
  void add_notes(std::function<std::vector<std::string>()> notes);

  /// What another process has to add to a view; `about`: the id of the port that it is of. Its rows
  /// of ports are merged into those of `metatap ports`.
  using Elsewhere = std::function<boost::asio::awaitable<Json>(View, std::string about)>;
  void set_elsewhere(Elsewhere elsewhere);

  /// `pattern`: a path, of which each segment `{}` matches any one. The first that fits is taken.
  using Action = std::function<boost::asio::awaitable<Response>(Call)>;
  void add_action(std::string method, std::string pattern, Action action);
  /// The same for what answers at once, in JSON.
  using JsonAction = std::function<Result<Json>(const Call&)>;
  void add_json_action(std::string method, std::string pattern, JsonAction action);

  /// Null where there is no other process, or it does not answer.
  [[nodiscard]] boost::asio::awaitable<Json> elsewhere(View view, std::string about = {}) const;
  /// The sections, and "health": what /healthz and /readyz say of it.
  [[nodiscard]] Json status(const Json& elsewhere = {}) const;
  [[nodiscard]] std::string metrics(const Json& elsewhere = {}) const;
  [[nodiscard]] Json port_facts(const Port& port) const;
  [[nodiscard]] Json findings(const Json& elsewhere = {}) const;
  /// One a line; those that begin with kNote are none.
  [[nodiscard]] std::string problems(const Json& elsewhere = {}) const;
  [[nodiscard]] std::string unready(const Json& elsewhere = {}) const;  ///< the same
  static constexpr std::string_view kNote = "note: ";
  /// GET of /v1/status, /v1/doctor, /metrics, /healthz or /readyz, which the above are shown as;
  /// else finds the action and runs it: 404 and 405 where there is none.
  [[nodiscard]] boost::asio::awaitable<Response> run(Call call) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    Action action;
  };
  struct Health {
    std::string name;
    std::function<std::string()> problem;
    Guests guests;
  };
  [[nodiscard]] std::string problems_for(View view, const Json& elsewhere) const;
  [[nodiscard]] Json health(const Json& elsewhere) const;
  [[nodiscard]] boost::asio::awaitable<std::optional<Response>> look(std::string path) const;
  [[nodiscard]] boost::asio::awaitable<Response> act(Call call) const;
  std::vector<std::pair<std::string, std::function<Json()>>> status_;
  std::vector<std::function<void(Metrics&)>> metrics_;
  std::vector<std::function<Json(const Port&)>> port_facts_;
  std::vector<std::pair<std::function<std::vector<Finding>()>, Pace>> findings_;
  /// Since when each has been found, by what it says without its figures.
  using Since = std::map<std::string, std::chrono::system_clock::time_point>;
  [[nodiscard]] std::vector<Finding> find_all(bool slow) const;
  mutable std::map<Pace, Since> since_;
  std::chrono::steady_clock::time_point kept_;
  std::vector<std::function<void()>> watches_;
  std::vector<Health> health_;
  std::vector<std::function<std::vector<std::string>()>> notes_;
  std::vector<Route> routes_;
  Elsewhere elsewhere_;
};

[[nodiscard]] Response json_response(const Json& json, unsigned status = 200);
/// {"error": {"code": "not_found", "message": "…"}} with the status that fits the code.
[[nodiscard]] Response error_response(const Error& error);

}  // namespace metatap::admin
