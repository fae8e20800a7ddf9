// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_directory.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/this_coro.hpp>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>

#include "agent/neutron_answers.hpp"
#include "agent/neutron_client.hpp"
#include "agent/place.hpp"
#include "agent/port_memory.hpp"
#include "base/boot_time.hpp"
#include "base/fair_share.hpp"
#include "base/json_text.hpp"
#include "base/log.hpp"
#include "http/flight.hpp"
#include "http/spawn.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostPerShard = 16384;
constexpr std::size_t kMostKept = 4096;      // in the file
constexpr std::size_t kMostQuestions = 128;  // in flight
/// Network ids in one query: some 5 KB of URL, which Neutron's servers take.
constexpr std::size_t kNetworksPerQuery = 100;

Identity identity_of(const Port& port) {
  return {port.device_id, port.project_id};
}

std::string key_of(const DirectoryQuery& query) {
  if (!query.port_id.empty()) {
    return "port " + std::string(query.port_id);
  }
  const auto locator = Locator::of_address(query.address);
  if (!locator || query.network_id.empty() == query.router_id.empty()) {
    return "";
  }
  return (query.router_id.empty() ? "network " + std::string(query.network_id)
                                  : "router " + std::string(query.router_id)) +
         " " + locator->str();
}

}  // namespace

class NeutronDirectory::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(const NeutronOptions& options, std::unique_ptr<NeutronClient> client, PlugOf plug_of)
      : options_(options),
        client_(std::move(client)),
        plug_of_(std::move(plug_of)),
        // A device's number is its own until the host is started again.
        memory_(options.memory, "Neutron, since boot " + this_boot()),
        kept_(memory_.recall()) {
    for (const auto& [id, port] : kept_->ports) {
      const auto key = key_of({.port_id = id});
      shard_of(key).entries.emplace(key, Entry{identity_of(*port), Clock::now() - memory_.age(),
                                               static_cast<std::uint64_t>(port->attached)});
    }
  }

  Result<Identity> known(const DirectoryQuery& query) {
    const auto key = key_of(query);
    if (key.empty()) {
      return fail(ErrorCode::not_found, "the question names no single place");
    }
    const auto entry = remembered(key, query.port_id);
    if (entry && fresh(*entry)) {
      ++counts_.answered_from_memory;
      return entry->answer;
    }
    if (resting() && usable(entry)) {
      ++counts_.answered_stale;
      return entry->answer;
    }
    return fail(ErrorCode::unavailable, "Neutron must be asked");
  }

  asio::awaitable<Result<Identity>> find(const DirectoryQuery& query, Freshness freshness) {
    const auto key = key_of(query);
    if (key.empty()) {
      co_return fail(ErrorCode::not_found, "the question names no single place");
    }
    const auto entry = remembered(key, query.port_id);
    if (freshness == Freshness::cached && entry && fresh(*entry)) {
      ++counts_.answered_from_memory;
      co_return entry->answer;
    }
    Result<Identity> answer = fail(ErrorCode::unavailable, "Neutron is left alone for a moment");
    if (!resting()) {
      auto [flight, place] = board(key, query);
      if (place) {
        // On its own, so that it goes on for the others when this request is given up.
        auto task = fetch(shared_from_this(), key,
                          PortQuestion{.port_id = std::string(query.port_id),
                                       .network_id = std::string(query.network_id),
                                       .router_id = std::string(query.router_id),
                                       .locator = Locator::of_address(query.address)},
                          flight, std::move(place));
        // Named: GCC 12 destroys a temporary lambda twice where something is awaited beside it.
        auto failed = [self = shared_from_this(), key, flight](Error why) {
          self->land(key, *flight, tl::make_unexpected(std::move(why)));
        };
        http::spawn(co_await asio::this_coro::executor, std::move(task), "neutron",
                    std::move(failed));
      }
      if (flight) {
        answer = co_await flight->wait();
      }
    }
    if (!answer && answer.error().code != ErrorCode::not_found && freshness == Freshness::cached &&
        usable(entry)) {
      ++counts_.answered_stale;
      co_return entry->answer;
    }
    co_return answer;
  }

  Health health() {
    Health health;
    const auto now = Clock::now();
    {
      const std::scoped_lock lock(outage_mutex_);
      health.reachable = !down_since_;
      health.last_error = last_error_;
      if (down_since_) {
        health.down_for = std::chrono::duration_cast<std::chrono::seconds>(now - *down_since_);
      }
    }
    health += counts_;
    for (auto& shard : shards_) {
      const std::scoped_lock lock(shard.mutex);
      health.remembered += shard.entries.size();
      for (const auto& [key, entry] : shard.entries) {
        health.oldest = std::max(health.oldest,
                                 std::chrono::duration_cast<std::chrono::seconds>(now - entry.at));
      }
    }
    return health;
  }

 private:
  using AnswerFlight = http::Flight<Result<Identity>>;
  struct Entry {
    Result<Identity> answer;
    Clock::time_point at;
    std::uint64_t plug = 0;  ///< of the port's device when it was asked for
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Entry> entries;
    std::unordered_map<std::string, std::shared_ptr<AnswerFlight>> flights;
  };

  Shard& shard_of(const std::string& key) {
    return shards_[std::hash<std::string>()(key) % shards_.size()];
  }
  std::uint64_t plug_of(std::string_view port_id) const {
    return port_id.empty() || !plug_of_ ? 0 : plug_of_(std::string(port_id));
  }
  std::optional<Entry> remembered(const std::string& key, std::string_view port_id) {
    const auto plug = plug_of(port_id);
    auto& shard = shard_of(key);
    const std::scoped_lock lock(shard.mutex);
    const auto found = shard.entries.find(key);
    return found == shard.entries.end() || found->second.plug != plug
               ? std::nullopt
               : std::optional(found->second);
  }
  bool fresh(const Entry& entry) const {
    return Clock::now() - entry.at < (entry.answer ? options_.ttl : options_.negative_ttl);
  }
  /// Whom an address belonged to is a better answer than none; that nobody had it is not.
  bool usable(const std::optional<Entry>& entry) const {
    return entry && entry->answer && Clock::now() - entry->at < options_.stale_if_error;
  }
  void remember(const std::string& key, Result<Identity> answer, std::uint64_t plug) {
    auto& shard = shard_of(key);
    const std::scoped_lock lock(shard.mutex);
    if (shard.entries.size() >= kMostPerShard) {
      std::erase_if(shard.entries, [&](const auto& item) { return !fresh(item.second); });
      if (shard.entries.size() >= kMostPerShard) {
        shard.entries.clear();
      }
    }
    shard.entries.insert_or_assign(key, Entry{std::move(answer), Clock::now(), plug});
  }
  /// For the next start.
  void keep(const std::string& port_id, const Result<Port>& answer, std::uint64_t plug) {
    const std::scoped_lock lock(kept_mutex_);
    auto ports = std::make_shared<Inventory>(*kept_);
    if (ports->ports.size() >= kMostKept) {
      for (const auto& [id, port] : kept_->ports) {
        if (plug_of(id) == 0) {
          ports->ports.erase(id);
        }
      }
    }
    ports->ports.erase(port_id);
    if (answer && ports->ports.size() < kMostKept) {
      auto port = std::make_shared<Port>(*answer);
      port->attached = static_cast<std::int64_t>(plug);
      if (can_be_kept(*port)) {
        ports->ports[port_id] = std::move(port);
      }
    }
    ++ports->revision;
    kept_ = std::move(ports);
    memory_.keep(kept_);
  }

  /// The flight for that key, and the place of its question if we are to ask it. Null: too much
  /// is being asked already, for this network or router or for all.
  std::pair<std::shared_ptr<AnswerFlight>, FairRoom::Place> board(const std::string& key,
                                                                  const DirectoryQuery& query) {
    auto& shard = shard_of(key);
    const std::scoped_lock lock(shard.mutex);
    if (const auto found = shard.flights.find(key); found != shard.flights.end()) {
      return {found->second, FairRoom::Place()};
    }
    auto place = questions_->enter(
        std::string(query.network_id.empty() ? query.router_id : query.network_id));
    if (!place) {
      return {};
    }
    return {shard.flights.emplace(key, std::make_shared<AnswerFlight>()).first->second,
            std::move(place)};
  }

  static asio::awaitable<void> fetch(std::shared_ptr<Impl> self, std::string key,
                                     PortQuestion question, std::shared_ptr<AnswerFlight> flight,
                                     FairRoom::Place) {
    ++self->counts_.asked;
    const auto plug = self->plug_of(question.port_id);  // first: the answer is no older than it
    const auto port = co_await self->ask(question);
    auto answer = port.map(identity_of);
    if (answer || answer.error().code == ErrorCode::not_found) {
      self->came_back();
      self->remember(key, answer, plug);
      if (plug != 0) {
        self->keep(question.port_id, port, plug);
      }
    } else {
      ++self->counts_.failed;
      self->failed_with(answer.error());
      answer = fail(ErrorCode::unavailable, std::move(answer.error().message));
    }
    self->land(key, *flight, std::move(answer));
  }

  void land(const std::string& key, AnswerFlight& flight, Result<Identity> answer) {
    {
      auto& shard = shard_of(key);
      const std::scoped_lock lock(shard.mutex);
      shard.flights.erase(key);
    }
    flight.land(std::move(answer));
  }

  static void want_fields(NeutronClient::Query& query) {
    for (const auto* field :
         {"id", "network_id", "mac_address", "fixed_ips", "device_id", "project_id", "tenant_id"}) {
      query.emplace_back("fields", field);
    }
  }

  asio::awaitable<Result<Port>> ask(const PortQuestion& question) {
    std::vector<std::string> networks;
    std::size_t at = 0;
    if (!question.router_id.empty()) {
      NeutronClient::Query query;
      query.emplace_back("device_id", question.router_id);
      for (const std::string_view owner : kRouterInterfaceOwners) {
        query.emplace_back("device_owner", owner);
      }
      query.emplace_back("fields", "network_id");
      const auto interfaces = co_await client_->ports(query);
      if (!interfaces) {
        co_return unless_refused(interfaces.error());
      }
      std::set<std::string> unique;
      for (const auto& port : *interfaces) {
        unique.insert(text_of(port, "network_id"));
      }
      unique.erase("");
      networks.assign(unique.begin(), unique.end());
    } else if (question.port_id.empty()) {
      networks.push_back(question.network_id);
    }
    std::vector<json> found;
    if (!question.port_id.empty()) {
      NeutronClient::Query query;
      query.emplace_back("id", question.port_id);
      want_fields(query);
      auto ports = co_await client_->ports(query);
      if (!ports) {
        co_return unless_refused(ports.error());
      }
      found = std::move(*ports);
    }
    while (at < networks.size() && found.size() < 2) {
      NeutronClient::Query query;
      for (std::size_t last = std::min(networks.size(), at + kNetworksPerQuery); at < last; ++at) {
        query.emplace_back("network_id", networks[at]);
      }
      if (question.locator->is_mac()) {
        query.emplace_back("mac_address", question.locator->str());
      } else {
        query.emplace_back("fixed_ips", "ip_address=" + question.locator->str());
      }
      want_fields(query);
      const auto ports = co_await client_->ports(query);
      if (!ports) {
        co_return unless_refused(ports.error());
      }
      found.insert(found.end(), ports->begin(), ports->end());
    }
    co_return port_in(found, question, networks);
  }

  /// A question Neutron cannot make sense of names nothing it has.
  static Result<Port> unless_refused(const Error& error) {
    if (error.code == ErrorCode::invalid && error.message.starts_with("Neutron refuses")) {
      return fail(ErrorCode::not_found, error.message);
    }
    return tl::make_unexpected(error);
  }

  bool resting() {
    const std::scoped_lock lock(outage_mutex_);
    return down_since_ && Clock::now() < next_try_;
  }
  void came_back() {
    const std::scoped_lock lock(outage_mutex_);
    if (down_since_) {
      log::info(
          "neutron: answers again after {} s",
          std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - *down_since_).count());
      down_since_.reset();
      last_error_.clear();
    }
  }
  void failed_with(const Error& error) {
    const std::scoped_lock lock(outage_mutex_);
    const auto now = Clock::now();
    if (!down_since_) {
      down_since_ = now;
      back_off_ = options_.first_back_off;
    } else if (now >= next_try_) {
      back_off_ = std::min(back_off_ * 2, options_.longest_back_off);
    }
    next_try_ = now + back_off_;
    if (last_error_ != error.message) {
      last_error_ = error.message;
      log::warn("neutron: {}; what is known is served meanwhile", last_error_);
    }
  }

  const NeutronOptions options_;
  const std::unique_ptr<NeutronClient> client_;
  const PlugOf plug_of_;
  std::array<Shard, 16> shards_;
  const std::shared_ptr<FairRoom> questions_ = std::make_shared<FairRoom>(kMostQuestions);
  NeutronCounts<std::atomic<std::uint64_t>> counts_;

  std::mutex outage_mutex_;
  std::optional<Clock::time_point> down_since_;
  Clock::time_point next_try_;
  std::chrono::milliseconds back_off_{0};
  std::string last_error_;

  std::mutex kept_mutex_;
  PortMemory memory_;
  std::shared_ptr<const Inventory> kept_;  ///< `attached` is the plug of the port's device
};

NeutronDirectory::NeutronDirectory(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
NeutronDirectory::~NeutronDirectory() = default;

Result<std::unique_ptr<NeutronDirectory>> NeutronDirectory::create(const NeutronOptions& options,
                                                                   PlugOf plug_of) {
  auto client = NeutronClient::create(options);
  if (!client) {
    return tl::make_unexpected(std::move(client.error()));
  }
  return std::unique_ptr<NeutronDirectory>(new NeutronDirectory(
      std::make_shared<Impl>(options, std::move(*client), std::move(plug_of))));
}

Result<Identity> NeutronDirectory::known(const DirectoryQuery& query) const {
  return impl_->known(query);
}
asio::awaitable<Result<Identity>> NeutronDirectory::find(const DirectoryQuery& query,
                                                         Freshness freshness) {
  return impl_->find(query, freshness);
}
NeutronDirectory::Health NeutronDirectory::health() const {
  return impl_->health();
}

}  // namespace metatap::agent
