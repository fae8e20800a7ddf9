// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_client.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <deque>
#include <optional>
#include <random>

#include "base/log.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using nlohmann::json;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kLargestMessage = std::size_t{512} << 20U;
constexpr std::string_view kMonitorId = "metatap";
constexpr std::string_view kServerMonitorId = "metatap-server";

struct Remote {
  enum class Kind { unix_socket, tcp, ssl } kind = Kind::tcp;
  std::string text, host, port;  // host is the path of a UNIX socket
};

Result<Remote> parse_remote(const std::string& text) {
  const auto wrong = [&] {
    return fail(ErrorCode::invalid,
                "OVSDB remote '" + text + "': expected unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT");
  };
  const auto colon = text.find(':');
  if (colon == std::string::npos) {
    return wrong();
  }
  const auto kind = text.substr(0, colon);
  const auto rest = text.substr(colon + 1);
  Remote remote;
  remote.text = text;
  if (kind == "unix") {
    // A longer path cannot be connected to, and Asio would throw.
    if (rest.empty() || rest.size() > 107) {
      return wrong();
    }
    remote.kind = Remote::Kind::unix_socket;
    remote.host = rest;
    return remote;
  }
  const auto last = rest.rfind(':');
  if ((kind != "tcp" && kind != "ssl") || last == std::string::npos || last == 0 ||
      last + 1 == rest.size()) {
    return wrong();
  }
  remote.kind = kind == "ssl" ? Remote::Kind::ssl : Remote::Kind::tcp;
  remote.host = rest.substr(0, last);
  remote.port = rest.substr(last + 1);
  if (remote.host.size() > 2 && remote.host.front() == '[' && remote.host.back() == ']') {
    remote.host = remote.host.substr(1, remote.host.size() - 2);
  }
  return remote;
}

std::string describe(const json& error) {
  if (error.is_object()) {
    return error.value("error", "?") + " (" + error.value("details", "no details") + ")";
  }
  return error.is_string() ? error.get<std::string>() : error.dump();
}

}  // namespace

class OvsdbClient::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(asio::io_context& context, OvsdbOptions options, std::vector<Remote> remotes,
       std::unique_ptr<asio::ssl::context> tls, std::map<std::string, OvsdbMonitor> tables,
       Callback changed)
      : options_(std::move(options)),
        remotes_(std::move(remotes)),
        tls_context_(std::move(tls)),
        tables_(std::move(tables)),
        changed_(std::move(changed)),
        context_(context),
        socket_(context),
        pause_(context),
        watchdog_(context),
        resolver_(context) {
    // Not all agents of a cloud on the same member.
    std::ranges::shuffle(remotes_, std::mt19937(std::random_device()()));
    for (const auto& [table, monitor] : tables_) {
      data_[table];
    }
  }

  void start() {
    asio::co_spawn(context_, [self = shared_from_this()] { return self->run(); }, asio::detached);
  }

  void stop() {
    stopping_ = true;
    changed_ = nullptr;
    pause_.cancel();
    watchdog_.cancel();
    resolver_.cancel();
    close();
  }

  void where(const std::string& table, json condition) {
    const auto monitor = tables_.find(table);
    if (monitor == tables_.end() || monitor->second.where == condition) {
      return;
    }
    monitor->second.where = std::move(condition);
    send_condition(table);
  }

  const OvsdbRows& rows(std::string_view table) const {
    static const OvsdbRows none;
    const auto found = data_.find(table);
    return found == data_.end() ? none : found->second;
  }
  const Health& health() const { return health_; }
  bool settled() const { return health_.complete && pending_conditions_.empty(); }

 private:
  using Data = std::map<std::string, OvsdbRows, std::less<>>;

  asio::awaitable<void> run() {
    auto back_off = options_.first_back_off;
    for (std::size_t next = 0; !stopping_; ++next) {
      const auto& remote = remotes_[next % remotes_.size()];
      health_.remote = remote.text;
      const auto connections = health_.connections;
      auto ended = co_await session(remote);
      watchdog_.cancel();
      close();
      if (stopping_) {
        co_return;
      }
      const bool was_useful = health_.connections != connections;
      const bool news = health_.connected || health_.last_error != ended.error().message;
      health_.connected = false;
      health_.last_error = ended.error().message;
      if (news) {
        log::warn("ovsdb {}: {}: {}", options_.database, remote.text, health_.last_error);
      }
      if (was_useful) {
        back_off = options_.first_back_off;
      } else if ((next + 1) % remotes_.size() == 0) {
        back_off = std::min(back_off * 2, options_.longest_back_off);
      }
      pause_.expires_after(back_off);
      co_await pause_.async_wait(kAwait);
    }
  }

  /// One connection from its beginning to its end, which is always an error.
  asio::awaitable<Status> session(const Remote& remote) {
    splitter_ = {};
    outgoing_.clear();
    inbox_.clear();
    writing_ = false;
    ++generation_;
    if (auto connected = co_await connect(remote); !connected) {
      co_return connected;
    }
    watch();

    auto schema = co_await call("get_schema", question());
    if (!schema) {
      co_return tl::make_unexpected(std::move(schema.error()).in("get_schema"));
    }
    if (auto status = learn(*schema); !status) {
      co_return status;
    }
    // Only servers that can be members of a cluster have this database.
    auto server = co_await call("monitor_cond", server_question());
    if (server) {
      server_rows_.clear();
      server_updates(*server);
    } else if (!refused_) {
      co_return tl::make_unexpected(std::move(server.error()));
    }
    if (auto usable = check_member(); !usable) {
      co_return usable;
    }

    conditional_ = true;
    auto contents = co_await call("monitor_cond", monitor_question());
    if (!contents && refused_) {
      conditional_ = false;
      contents = co_await call("monitor", monitor_question());
    }
    if (!contents) {
      co_return tl::make_unexpected(std::move(contents.error()).in("monitor"));
    }
    Data fresh;
    for (const auto& [table, monitor] : tables_) {
      fresh[table];
    }
    Changes changes;
    fill(fresh, *contents);
    for (const auto& [table, rows] : fresh) {
      compare(table, data_[table], rows, changes);
    }
    data_ = std::move(fresh);
    ++health_.connections;
    health_.connected = true;
    health_.complete = true;
    health_.last_error.clear();
    for (const auto& [table, monitor] : tables_) {
      send_condition(table);  // changed while we waited
    }
    log::info("ovsdb {}: connected to {}", options_.database, remote.text);
    publish(changes);

    for (;;) {
      auto message = co_await receive();
      if (!message) {
        co_return tl::make_unexpected(std::move(message.error()));
      }
      if (auto status = dispatch(*message); !status) {
        co_return status;
      }
    }
  }

  asio::awaitable<Status> connect(const Remote& remote) {
    socket_ = asio::generic::stream_protocol::socket(context_);
    tls_.reset();
    std::vector<asio::generic::stream_protocol::endpoint> endpoints;
    if (remote.kind == Remote::Kind::unix_socket) {
      endpoints.emplace_back(asio::local::stream_protocol::endpoint(remote.host));
    } else {
      auto [error, found] = co_await resolver_.async_resolve(remote.host, remote.port, kAwait);
      if (error) {
        co_return fail(ErrorCode::unavailable, "resolve the name: " + error.message());
      }
      for (const auto& entry : found) {
        endpoints.emplace_back(entry.endpoint());
      }
    }
    // Closing the socket ends whatever is waited for.
    watchdog_.expires_after(options_.connect);
    watchdog_.async_wait([self = shared_from_this(), generation = generation_](error_code error) {
      if (!error && generation == self->generation_) {
        self->close();
      }
    });
    error_code last = asio::error::host_not_found;
    for (const auto& endpoint : endpoints) {
      error_code ignored;
      socket_.close(ignored);
      std::tie(last) = co_await socket_.async_connect(endpoint, kAwait);
      if (!last || stopping_) {
        break;
      }
    }
    if (last) {
      co_return fail(ErrorCode::unavailable, "connect: " + last.message());
    }
    if (remote.kind == Remote::Kind::ssl) {
      tls_.emplace(socket_, *tls_context_);
      std::tie(last) = co_await tls_->async_handshake(asio::ssl::stream_base::client, kAwait);
      if (last) {
        co_return fail(ErrorCode::unavailable, "TLS handshake: " + last.message());
      }
    }
    co_return Status();
  }

  void close() {
    error_code ignored;
    socket_.close(ignored);
  }

  /// Asks for a sign of life after one silent interval, gives up after two.
  void watch() {
    heard_ = true;
    asked_ = false;
    arm();
  }
  void arm() {
    watchdog_.expires_after(options_.probe);
    watchdog_.async_wait([self = shared_from_this(), generation = generation_](error_code error) {
      if (error || generation != self->generation_ || self->stopping_) {
        return;
      }
      if (!self->heard_ && self->asked_) {
        self->close();
        return;
      }
      if (!self->heard_) {
        self->asked_ = true;
        self->send(request("echo", json::array(), "echo"));
      }
      self->heard_ = false;
      self->arm();
    });
  }

  void send(const json& message) {
    outgoing_.push_back(message.dump(-1, ' ', false, json::error_handler_t::replace));
    if (!writing_) {
      writing_ = true;
      asio::co_spawn(
          context_, [self = shared_from_this()] { return self->write(self->generation_); },
          asio::detached);
    }
  }

  asio::awaitable<void> write(std::uint64_t generation) {
    while (generation == generation_ && !outgoing_.empty()) {
      const auto text = std::move(outgoing_.front());
      outgoing_.pop_front();
      error_code error;
      std::size_t written = 0;
      if (tls_) {
        std::tie(error, written) = co_await asio::async_write(*tls_, asio::buffer(text), kAwait);
      } else {
        std::tie(error, written) = co_await asio::async_write(socket_, asio::buffer(text), kAwait);
      }
      if (error) {
        if (generation == generation_) {
          close();  // the reader notices
        }
        break;
      }
    }
    if (generation == generation_) {
      writing_ = false;
    }
  }

  asio::awaitable<Result<json>> receive() {
    while (inbox_.empty()) {
      error_code error;
      std::size_t size = 0;
      if (tls_) {
        std::tie(error, size) = co_await tls_->async_read_some(asio::buffer(chunk_), kAwait);
      } else {
        std::tie(error, size) = co_await socket_.async_read_some(asio::buffer(chunk_), kAwait);
      }
      if (error) {
        co_return fail(ErrorCode::unavailable, "connection lost: " + error.message());
      }
      heard_ = true;
      asked_ = false;
      auto texts = splitter_.take({chunk_.data(), size});
      if (!texts || splitter_.pending() > kLargestMessage) {
        co_return fail(ErrorCode::invalid, "the peer does not speak JSON-RPC");
      }
      std::ranges::move(*texts, std::back_inserter(inbox_));
    }
    auto message = json::parse(inbox_.front(), nullptr, false);
    inbox_.pop_front();
    if (!message.is_object()) {
      co_return fail(ErrorCode::invalid, "the peer does not speak JSON-RPC");
    }
    co_return message;
  }

  /// Asks and waits for the answer; what else arrives meanwhile is handled as usual.
  /// `refused_` tells an answer with an error from a lost connection.
  asio::awaitable<Result<json>> call(std::string_view method, json params) {
    const auto id = ++last_id_;
    refused_ = false;
    send(request(method, std::move(params), id));
    for (;;) {
      auto message = co_await receive();
      if (!message) {
        co_return message;
      }
      if (const auto answered = message->find("id");
          !message->contains("method") && answered != message->end() && *answered == id) {
        const auto error = message->find("error");
        if (error != message->end() && !error->is_null()) {
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
    const auto& wanted = tables_.at(table).where;
    if (!health_.connected || !conditional_ || sent_conditions_[table] == wanted) {
      return;
    }
    sent_conditions_[table] = wanted;
    json change = json::object();
    change["where"] = wanted;
    json changes = json::object();
    changes[table] = json::array({change});
    pending_conditions_.insert(++last_id_);
    send(request("monitor_cond_change", json::array({kMonitorId, kMonitorId, changes}), last_id_));
  }

  // Coroutines use no initializer lists: GCC 12 cannot keep them in a frame.
  static json request(std::string_view method, json params, const json& id) {
    return {{"method", method}, {"params", std::move(params)}, {"id", id}};
  }
  json question() const { return json::array({options_.database}); }
  static json server_question() {
    json table = json::object();
    table["columns"] = json::array({"name", "model", "connected", "leader"});
    json tables = json::object();
    tables["Database"] = json::array({table});
    return json::array({"_Server", kServerMonitorId, tables});
  }
  json monitor_question() { return json::array({options_.database, kMonitorId, requests()}); }

  Status dispatch(const json& message) {
    const auto method = message.find("method");
    if (method == message.end() || !method->is_string()) {
      const auto error = message.find("error");
      if (error != message.end() && !error->is_null()) {
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
    const auto& name = method->get_ref<const std::string&>();
    const auto params = message.find("params");
    if (name == "echo") {
      send({{"result", params == message.end() ? json::array() : *params},
            {"error", nullptr},
            {"id", message.value("id", json())}});
      return {};
    }
    if (name == "monitor_canceled") {
      return fail(ErrorCode::unavailable, "the server dropped the database");
    }
    if ((name != "update" && name != "update2") || params == message.end() || !params->is_array() ||
        params->size() != 2) {
      return {};
    }
    if ((*params)[0] == kServerMonitorId) {
      server_updates((*params)[1]);
      return check_member();
    }
    if ((*params)[0] == kMonitorId && health_.connected) {
      Changes changes;
      update((*params)[1], changes);
      ++health_.updates;
      publish(changes);
    }
    return {};
  }

  void publish(const Changes& changes) {
    if (changed_) {
      changed_(changes);
    }
  }

  /// Which of the columns we want there are, and how their changes are told.
  Status learn(const json& schema) {
    const auto tables = schema.find("tables");
    if (!schema.is_object() || tables == schema.end()) {
      return fail(ErrorCode::invalid, "the server's schema has no tables");
    }
    columns_.clear();
    for (const auto& [table, monitor] : tables_) {
      const auto found = tables->find(table);
      if (found == tables->end() || !found->contains("columns")) {
        return fail(ErrorCode::invalid, "the database has no table " + table);
      }
      for (const auto& column : monitor.columns) {
        if (const auto known = (*found)["columns"].find(column);
            known != (*found)["columns"].end() && known->contains("type")) {
          columns_[table][column] = ovsdb_column((*known)["type"]);
        }
      }
    }
    return {};
  }

  json requests() {
    json all = json::object();
    sent_conditions_.clear();
    pending_conditions_.clear();
    for (const auto& [table, monitor] : tables_) {
      json columns = json::array();
      if (const auto known = columns_.find(table); known != columns_.end()) {
        for (const auto& [column, kind] : known->second) {
          columns.push_back(column);
        }
      }
      json request = {{"columns", columns}};
      if (conditional_) {
        request["where"] = monitor.where;
        sent_conditions_[table] = monitor.where;
      }
      all[table] = json::array({request});
    }
    return all;
  }

  static OvsdbRow row_of(const json& columns) {
    OvsdbRow row;
    for (const auto& [column, value] : columns.items()) {
      row[column] = value;
    }
    return row;
  }

  /// The reply to the monitor request: "initial" with conditions, "new" without.
  static void fill(Data& data, const json& updates) {
    if (!updates.is_object()) {
      return;
    }
    for (const auto& [table, rows] : updates.items()) {
      for (const auto& [uuid, update] : rows.items()) {
        for (const auto* kind : {"initial", "insert", "new"}) {
          if (const auto columns = update.find(kind); columns != update.end()) {
            data[table][uuid] = row_of(*columns);
          }
        }
      }
    }
  }

  static void compare(const std::string& table, const OvsdbRows& before, const OvsdbRows& after,
                      Changes& changes) {
    for (const auto& [uuid, row] : before) {
      if (!after.contains(uuid)) {
        changes.emplace(table, uuid);
      }
    }
    for (const auto& [uuid, row] : after) {
      const auto old = before.find(uuid);
      if (old == before.end() || old->second != row) {
        changes.emplace(table, uuid);
      }
    }
  }

  void update(const json& updates, Changes& changes) {
    if (!updates.is_object()) {
      return;
    }
    for (const auto& [table, rows] : updates.items()) {
      auto& mine = data_[table];
      const auto& kinds = columns_[table];
      for (const auto& [uuid, change] : rows.items()) {
        changes.emplace(table, uuid);
        if (!conditional_) {
          if (const auto now = change.find("new"); now != change.end() && now->is_object()) {
            for (const auto& [column, value] : now->items()) {
              mine[uuid][column] = value;
            }
          } else {
            mine.erase(uuid);
          }
          continue;
        }
        if (change.contains("delete")) {
          mine.erase(uuid);
        } else if (const auto fresh =
                       change.contains("insert") ? change.find("insert") : change.find("initial");
                   fresh != change.end()) {
          mine[uuid] = row_of(*fresh);
        } else if (const auto modified = change.find("modify");
                   modified != change.end() && modified->is_object()) {
          auto& row = mine[uuid];
          for (const auto& [column, difference] : modified->items()) {
            const auto kind = kinds.find(column);
            row[column] = ovsdb_changed(row[column], difference,
                                        kind == kinds.end() ? OvsdbColumn{} : kind->second);
          }
        }
      }
    }
  }

  void server_updates(const json& updates) {
    const auto database = updates.find("Database");
    if (!updates.is_object() || database == updates.end()) {
      return;
    }
    for (const auto& [uuid, change] : database->items()) {
      if (change.contains("delete")) {
        server_rows_.erase(uuid);
        continue;
      }
      for (const auto* kind : {"initial", "insert", "modify"}) {
        if (const auto columns = change.find(kind); columns != change.end()) {
          for (const auto& [column, value] : columns->items()) {
            server_rows_[uuid][column] = value;
          }
        }
      }
    }
  }

  /// A member that has lost its cluster shows an ever older state.
  [[nodiscard]] Status check_member() const {
    for (const auto& [uuid, row] : server_rows_) {
      if (ovsdb_text(row, "name") != options_.database || ovsdb_text(row, "model") != "clustered") {
        continue;
      }
      const auto flag = [&row = row](std::string_view column) {
        const auto value = row.find(column);
        return value != row.end() && value->second == true;
      };
      if (!flag("connected")) {
        return fail(ErrorCode::unavailable, "this member has lost its cluster");
      }
      if (options_.leader_only && !flag("leader")) {
        return fail(ErrorCode::unavailable, "this member is not the cluster's leader");
      }
    }
    return {};
  }

  OvsdbOptions options_;
  std::vector<Remote> remotes_;
  std::unique_ptr<asio::ssl::context> tls_context_;
  std::map<std::string, OvsdbMonitor> tables_;
  Callback changed_;
  asio::io_context& context_;
  asio::generic::stream_protocol::socket socket_;
  std::optional<asio::ssl::stream<asio::generic::stream_protocol::socket&>> tls_;
  asio::steady_timer pause_, watchdog_;
  asio::ip::tcp::resolver resolver_;

  Data data_;
  OvsdbRows server_rows_;
  std::map<std::string, std::map<std::string, OvsdbColumn>, std::less<>> columns_;
  std::map<std::string, json> sent_conditions_;
  std::set<std::int64_t> pending_conditions_;  ///< requests without a reply yet
  Health health_;

  std::uint64_t generation_ = 0;  ///< of the connection: what belongs to an older one stops
  std::int64_t last_id_ = 0;
  bool conditional_ = true, refused_ = false, writing_ = false, stopping_ = false;
  bool heard_ = false, asked_ = false;
  std::deque<std::string> outgoing_, inbox_;
  JsonSplitter splitter_;
  std::array<char, 65536> chunk_;
};

Result<std::unique_ptr<OvsdbClient>> OvsdbClient::create(asio::io_context& context,
                                                         OvsdbOptions options,
                                                         std::map<std::string, OvsdbMonitor> tables,
                                                         Callback changed) {
  std::vector<Remote> remotes;
  std::unique_ptr<asio::ssl::context> tls;
  for (const auto& text : options.remotes) {
    auto remote = parse_remote(text);
    if (!remote) {
      return tl::make_unexpected(std::move(remote.error()));
    }
    if (remote->kind == Remote::Kind::ssl && !tls) {
      tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_client);
      error_code error;
      const auto failed = [&](std::string_view what, const std::string& file) {
        return fail(ErrorCode::invalid, "OVSDB remote '" + text + "': read " + std::string(what) +
                                            " " + file + ": " + error.message());
      };
      if (options.ca_cert.empty()) {
        return fail(ErrorCode::invalid,
                    "OVSDB remote '" + text + "': a CA certificate must be given for ssl:");
      }
      if (tls->load_verify_file(options.ca_cert, error); error) {
        return failed("the CA certificate", options.ca_cert);
      }
      tls->set_verify_mode(asio::ssl::verify_peer, error);
      if (!options.certificate.empty() && !options.private_key.empty()) {
        if (tls->use_certificate_chain_file(options.certificate, error); error) {
          return failed("the certificate", options.certificate);
        }
        if (tls->use_private_key_file(options.private_key, asio::ssl::context::pem, error); error) {
          return failed("the private key", options.private_key);
        }
      }
    }
    remotes.push_back(std::move(*remote));
  }
  if (remotes.empty()) {
    return fail(ErrorCode::invalid, "no OVSDB remote is given for " + options.database);
  }
  return std::unique_ptr<OvsdbClient>(new OvsdbClient(
      std::make_shared<Impl>(context, std::move(options), std::move(remotes), std::move(tls),
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
bool OvsdbClient::settled() const {
  return impl_->settled();
}
const OvsdbClient::Health& OvsdbClient::health() const {
  return impl_->health();
}

}  // namespace metatap::agent
