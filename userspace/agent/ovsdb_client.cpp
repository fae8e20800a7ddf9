// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_client.hpp"

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "agent/ovsdb_connection.hpp"
#include "base/log.hpp"
#include "http/coroutine.hpp"
#include "http/spawn.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

constexpr std::string_view kMonitorId = "metatap";
constexpr std::string_view kServerMonitorId = "metatap-server";
constexpr std::string_view kUnknownMethod = "unknown method";  ///< as ovsdb-server says it

std::string described(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string describe(const json& error) {
  if (error.is_object()) {
    const auto part = [&](const char* name, const char* otherwise) {
      const auto found = error.find(name);
      return found == error.end() ? otherwise : described(*found);
    };
    return part("error", "?") + " (" + part("details", "no details") + ")";
  }
  return described(error);
}

/// The error a reply carries, or nullptr.
const json* error_in(const json& message) {
  const auto error = message.find("error");
  return error == message.end() || error->is_null() ? nullptr : &*error;
}

// Coroutines use no initializer lists: GCC 12 cannot keep them in a frame.
json question_for_server_state() {
  json table = json::object();
  table["columns"] = json::array({"name", "model", "connected", "leader"});
  json tables = json::object();
  tables["Database"] = json::array({table});
  return json::array({"_Server", kServerMonitorId, tables});
}

}  // namespace

class OvsdbClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& context, OvsdbOptions options, std::vector<OvsdbRemote> remotes,
       std::unique_ptr<asio::ssl::context> tls, std::map<std::string, OvsdbMonitor> tables,
       Callback changed)
      : options_(std::move(options)),
        remotes_(std::move(remotes)),
        tls_(std::move(tls)),
        changed_(std::move(changed)),
        context_(context),
        pause_(context),
        copy_(std::move(tables)) {
    // Not all agents of a cloud on the same member.
    std::ranges::shuffle(remotes_, std::mt19937(std::random_device()()));
  }

  void start() {
    http::spawn(context_.get_executor(), run(shared_from_this()), "ovsdb " + options_.database,
                [self = shared_from_this()](Error why) { self->ended(std::move(why)); });
  }

  void stop() {
    stopping_ = true;
    changed_ = nullptr;
    transactions_.clear();
    pause_.cancel();
    if (connection_) {
      connection_->close();
    }
  }

  void where(const std::string& table, json condition) {
    if (copy_.set_condition(table, std::move(condition))) {
      send_condition(table);
    }
  }

  void transact(json operations, Committed committed) {
    if (!health_.connected) {
      asio::post(context_, [self = shared_from_this(), committed = std::move(committed)] {
        if (!self->stopping_) {
          committed(fail(ErrorCode::unavailable, "the database is not connected"));
        }
      });
      return;
    }
    operations.insert(operations.begin(), options_.database);
    transactions_.emplace(++last_id_, std::move(committed));
    connection_->send(OvsdbConnection::request("transact", std::move(operations), last_id_));
  }

  const OvsdbRows& rows(std::string_view table) const { return copy_.rows(table); }
  Health health() const {
    auto health = health_;
    health.rows = copy_.size();
    return health;
  }
  /// What a lost connection still owed us, the next one begins with.
  bool settled() const {
    return health_.complete && (!health_.connected || pending_conditions_.empty());
  }

 private:
  /// Connects to one member after the other, for ever.
  static asio::awaitable<void> run(std::shared_ptr<Impl> self) {
    auto back_off = self->options_.first_back_off;
    for (std::size_t next = 0; !self->stopping_; ++next) {
      const auto& remotes = self->remotes_;
      const auto began = std::chrono::steady_clock::now();
      const auto ended = co_await self->guarded_session(remotes[next % remotes.size()]);
      if (self->stopping_) {
        co_return;
      }
      const bool was_useful = self->health_.connected;
      self->give_up_transactions(ended.error());
      self->ended(ended.error());
      // One that connects well and then says what cannot be understood is no use either.
      if (was_useful && std::chrono::steady_clock::now() - began > back_off) {
        back_off = self->options_.first_back_off;
      } else if ((next + 1) % remotes.size() == 0) {
        back_off = std::min(back_off * 2, self->options_.longest_back_off);
      }
      self->pause_.expires_after(back_off);
      co_await self->pause_.async_wait(http::kAsTuple);
    }
  }

  /// A session that throws has ended. What its batch should have made of the copy is not known
  /// then: the next one tells of all rows.
  asio::awaitable<Status> guarded_session(const OvsdbRemote& remote) {
    health_.remote = remote.text;
    connection_ = std::make_shared<OvsdbConnection>(context_, tls_.get(), options_);
    Status ended;
    try {
      ended = co_await session(remote);
    } catch (...) {
      ended =
          tl::make_unexpected(http::thrown("ovsdb " + options_.database, std::current_exception()));
      tell_all_ = true;
    }
    connection_->close();
    co_return ended;
  }

  void ended(const Error& why) {
    const bool news = health_.connected || health_.last_error != why.message;
    health_.connected = false;
    health_.last_error = why.message;
    if (news) {
      log::warn("ovsdb {}: {}: {}", options_.database, health_.remote, health_.last_error);
    }
  }

  /// One connection from its beginning to its end, which is always an error.
  asio::awaitable<Status> session(const OvsdbRemote& remote) {
    if (auto connected = co_await connection_->connect(remote); !connected) {
      co_return connected;
    }
    if (auto usable = co_await look_at_server(); !usable) {
      co_return usable;
    }
    const auto contents = co_await ask_for_rows();
    if (!contents) {
      co_return tl::make_unexpected(Error(contents.error()).in("monitor"));
    }
    if (auto sound = check_updates(*contents); !sound) {
      co_return sound;
    }
    auto changes = tell_all_ ? copy_.every_row() : Changes();
    changes.merge(copy_.replace(*contents));
    if (tell_all_) {
      changes.merge(copy_.every_row());
    }
    ++health_.connections;
    health_.connected = true;
    health_.complete = true;
    health_.last_error.clear();
    for (const auto& [table, monitor] : copy_.tables()) {
      send_condition(table);  // changed while we waited
    }
    log::info("ovsdb {}: connected to {}", options_.database, remote.text);
    publish(changes);
    tell_all_ = false;

    for (;;) {
      const auto message = co_await connection_->receive();
      if (!message) {
        co_return tl::make_unexpected(message.error());
      }
      if (auto status = dispatch(*message); !status) {
        co_return status;
      }
    }
  }

  /// Learns the database's schema, and whether this member of the cluster is one to stay with.
  asio::awaitable<Status> look_at_server() {
    auto schema = co_await call("get_schema", question_for_schema());
    if (!schema) {
      co_return tl::make_unexpected(std::move(schema.error()).in("get_schema"));
    }
    if (auto status = copy_.learn(*schema); !status) {
      co_return status;
    }
    // Only servers that can be members of a cluster have this database.
    server_.clear();
    auto state = co_await call("monitor_cond", question_for_server_state());
    if (state) {
      server_.update(*state);
    } else if (!refused_) {
      co_return tl::make_unexpected(std::move(state.error()));
    }
    co_return server_.usable(options_.database, options_.leader_only);
  }

  /// The rows we want, as they are now; their changes follow.
  asio::awaitable<Result<json>> ask_for_rows() {
    auto contents = co_await call("monitor_cond", question_for_rows(true));
    // Any other refusal is no reason to ask for the whole cloud's rows.
    if (!contents && refused_ && contents.error().message.starts_with(kUnknownMethod)) {
      contents = co_await call("monitor", question_for_rows(false));
    }
    co_return contents;
  }
  [[nodiscard]] json question_for_schema() const { return json::array({options_.database}); }
  json question_for_rows(bool conditional) {
    pending_conditions_.clear();
    return json::array({options_.database, kMonitorId, copy_.requests(conditional)});
  }

  /// Asks and waits for the answer; what else arrives meanwhile is handled as usual.
  /// `refused_` tells an answer with an error from a lost connection.
  asio::awaitable<Result<json>> call(std::string_view method, json params) {
    const auto id = ++last_id_;
    refused_ = false;
    connection_->send(OvsdbConnection::request(method, std::move(params), id));
    for (;;) {
      auto message = co_await connection_->receive();
      if (!message) {
        co_return message;
      }
      if (const auto answered = message->find("id");
          !message->contains("method") && answered != message->end() && *answered == id) {
        if (const auto* error = error_in(*message)) {
          refused_ = true;
          co_return fail(ErrorCode::invalid, describe(*error));
        }
        const auto result = message->find("result");
        co_return result == message->end() ? json() : std::move(*result);
      }
      if (auto status = dispatch(*message); !status) {
        co_return tl::make_unexpected(std::move(status.error()));
      }
    }
  }

  /// Tells the server which rows of a table we want, if it believes otherwise.
  void send_condition(const std::string& table) {
    if (!health_.connected) {
      return;
    }
    if (const auto condition = copy_.take_condition(table)) {
      json change = json::object();
      change["where"] = *condition;
      json changes = json::object();
      changes[table] = json::array({change});
      pending_conditions_.insert(++last_id_);
      connection_->send(OvsdbConnection::request(
          "monitor_cond_change", json::array({kMonitorId, kMonitorId, changes}), last_id_));
    }
  }

  Status dispatch(const json& message) {
    const auto method = message.find("method");
    if (method == message.end() || !method->is_string()) {
      return dispatch_reply(message);
    }
    const auto& name = method->get_ref<const std::string&>();
    const auto params = message.find("params");
    if (name == "echo") {
      connection_->send({{"result", params == message.end() ? json::array() : *params},
                         {"error", nullptr},
                         {"id", message.value("id", json())}});
      return {};
    }
    if (name == "monitor_canceled") {
      return fail(ErrorCode::unavailable, "the server dropped the database");
    }
    if (name != "update" && name != "update2") {
      return {};
    }
    if (params == message.end() || !params->is_array() || params->size() != 2) {
      return fail(ErrorCode::invalid, "the server sends an update without its two parts");
    }
    if (auto sound = check_updates((*params)[1]); !sound) {
      return sound;
    }
    if ((*params)[0] == kServerMonitorId) {
      server_.update((*params)[1]);
      return server_.usable(options_.database, options_.leader_only);
    }
    if ((*params)[0] == kMonitorId && health_.connected) {
      const auto changes = copy_.update((*params)[1]);
      ++health_.updates;
      publish(changes);
    }
    return {};
  }

  /// A reply that no call() waits for: to a transaction or a change of conditions.
  Status dispatch_reply(const json& message) {
    if (finish_transaction(message)) {
      return {};
    }
    if (const auto* error = error_in(message)) {
      return fail(ErrorCode::invalid, "the server refuses: " + describe(*error));
    }
    // The rows a new condition adds come before the reply to it.
    if (const auto id = message.find("id");
        id != message.end() && id->is_number_integer() &&
        pending_conditions_.erase(id->get<std::int64_t>()) > 0 && pending_conditions_.empty()) {
      publish({});
    }
    return {};
  }

  bool finish_transaction(const json& message) {
    const auto id = message.find("id");
    if (id == message.end() || !id->is_number_integer()) {
      return false;
    }
    auto transaction = transactions_.extract(id->get<std::int64_t>());
    if (!transaction) {
      return false;
    }
    transaction.mapped()(results_of(message));
    return true;
  }

  /// The results of a transaction's operations, or the first error among them.
  static Result<json> results_of(const json& message) {
    if (const auto* error = error_in(message)) {
      return fail(ErrorCode::denied, describe(*error));
    }
    auto results = message.value("result", json::array());
    for (const auto& result : results) {
      if (result.is_object() && error_in(result) != nullptr) {
        return fail(ErrorCode::denied, describe(result));
      }
    }
    return results;
  }

  void give_up_transactions(const Error& why) {
    for (auto& [id, committed] : std::exchange(transactions_, {})) {
      committed(fail(ErrorCode::unavailable, why.message));
    }
  }

  void publish(const Changes& changes) {
    if (changed_) {
      changed_(changes);
    }
  }

  const OvsdbOptions options_;
  std::vector<OvsdbRemote> remotes_;
  std::unique_ptr<asio::ssl::context> tls_;
  Callback changed_;
  asio::io_context& context_;
  asio::steady_timer pause_;

  std::shared_ptr<OvsdbConnection> connection_;  ///< the present one, or the last
  OvsdbCopy copy_;
  OvsdbServerState server_;
  std::set<std::int64_t> pending_conditions_;  ///< requests without a reply yet
  std::map<std::int64_t, Committed> transactions_;
  Health health_;
  std::int64_t last_id_ = 0;
  bool refused_ = false, stopping_ = false;
  bool tell_all_ = false;  ///< whoever follows the copy may not have followed it to its end
};

Result<std::unique_ptr<OvsdbClient>> OvsdbClient::create(asio::io_context& context,
                                                         OvsdbOptions options,
                                                         std::map<std::string, OvsdbMonitor> tables,
                                                         Callback changed) {
  std::vector<OvsdbRemote> remotes;
  for (const auto& text : options.remotes) {
    auto remote = OvsdbRemote::parse(text);
    if (!remote) {
      return tl::make_unexpected(std::move(remote.error()));
    }
    remotes.push_back(std::move(*remote));
  }
  if (remotes.empty()) {
    return fail(ErrorCode::invalid, "no OVSDB remote is given for " + options.database);
  }
  auto tls = ovsdb_tls(options, remotes);
  if (!tls) {
    return tl::make_unexpected(std::move(tls.error()));
  }
  return std::unique_ptr<OvsdbClient>(new OvsdbClient(
      std::make_shared<Impl>(context, std::move(options), std::move(remotes), std::move(*tls),
                             std::move(tables), std::move(changed))));
}

OvsdbClient::OvsdbClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
OvsdbClient::~OvsdbClient() {
  impl_->stop();
}
void OvsdbClient::start() {
  impl_->start();
}
void OvsdbClient::where(const std::string& table, nlohmann::json condition) {
  impl_->where(table, std::move(condition));
}
const OvsdbRows& OvsdbClient::rows(std::string_view table) const {
  return impl_->rows(table);
}
void OvsdbClient::transact(nlohmann::json operations, Committed committed) {
  impl_->transact(std::move(operations), std::move(committed));
}
bool OvsdbClient::settled() const {
  return impl_->settled();
}
OvsdbClient::Health OvsdbClient::health() const {
  return impl_->health();
}

}  // namespace metatap::agent
