// SPDX-License-Identifier: Apache-2.0
// Many hosts with one database, for bench/inventory_scale.py.
//
//   inventory_hosts URL fill INSTANCES HOSTS    makes the inventory
//   inventory_hosts URL follow HOSTS SCOPE      is so many hosts, of scope `all` or `host`; answers
//                                               each line "RATE SECONDS" with what that many
//                                               changes of one instance a second led to, as JSON
//
// Towards the database a host here is what it is in metatapd: a connection that listens, one that
// reads, and the statements of PostgresTables. With scope `all` they share the objects that nobody
// has changed, or they would not fit into one machine's memory.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "inventory/answer_limit.hpp"
#include "inventory/postgres_scope.hpp"
#include "inventory/postgres_store.hpp"
#include "inventory/postgres_tables.hpp"
#include "inventory/reading_pace.hpp"

namespace {

using namespace metatap;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLimit = 60s;
constexpr int kGuestsOfANetwork = 25;

std::string host_name(int number) {
  return fmt::format("compute-{:03}", number);
}
/// Ids that begin as differently as UUIDs do: an odd factor makes a number of each number.
std::string uuid_of(char kind, int number) {
  constexpr std::uint32_t kFactor = 2'654'435'761;
  return fmt::format("{:08x}-0000-4000-8000-00000000000{}",
                     static_cast<std::uint32_t>(number) * kFactor, kind);
}

[[noreturn]] void give_up(const std::string& why) {
  std::cerr << why << "\n";
  std::_Exit(1);
}

template <class T>
void put(Inventory::Table<T>& table, const std::string& id, const std::shared_ptr<T>& object) {
  table.insert_or_assign(id, object);
}

/// Guests with 1 KB of user data, in networks that span the hosts.
Inventory cloud(int instances, int hosts) {
  Inventory all;
  const int networks = std::max(1, instances / kGuestsOfANetwork);
  for (int n = 0; n < networks; ++n) {
    auto network = std::make_shared<Network>();
    auto subnet = std::make_shared<Subnet>();
    network->id = subnet->network_id = uuid_of('a', n);
    subnet->id = uuid_of('b', n);
    subnet->cidr = "10.0.0.0/16";
    put(all.networks, network->id, network);
    put(all.subnets, subnet->id, subnet);
  }
  for (int i = 0; i < instances; ++i) {
    auto port = std::make_shared<Port>();
    auto instance = std::make_shared<Instance>();
    port->id = uuid_of('c', i);
    port->network_id = uuid_of('a', i % networks);
    port->mac_address =
        fmt::format("02:00:{:02x}:{:02x}:{:02x}:01", i >> 16, i >> 8 & 255, i & 255);
    port->device_id = instance->uuid = uuid_of('d', i);
    port->device_owner = "compute:nova";
    port->project_id = instance->project_id = uuid_of('e', i % 100);
    port->fixed_ips = {{uuid_of('b', i % networks),
                        fmt::format("10.0.{}.{}", i / networks >> 8, i / networks & 255)}};
    port->host = host_name(i % hosts);
    instance->name = instance->display_name = instance->hostname = fmt::format("guest-{}", i);
    instance->user_data = std::string(1024, 'A');
    instance->key_data = "ssh-ed25519 " + std::string(68, 'A');
    put(all.ports, port->id, port);
    put(all.instances, instance->uuid, instance);
  }
  return all;
}

/// One host: looks when it is told to, at the pace of the real ones, and every two seconds.
class Host {
 public:
  struct Seen {
    Clock::time_point when;
    std::uint64_t revision;
  };

  Host(const std::string& url, std::string name, PostgresTables tables, AnswerLimit& limit)
      : url_(url), name_(std::move(name)), tables_(std::move(tables)), limit_(limit) {
    thread_ = std::jthread([this](const std::stop_token& stop) {
      try {
        run(stop);
      } catch (const std::exception& error) {
        give_up(error.what());
      }
    });
  }
  [[nodiscard]] std::uint64_t revision() const { return revision_; }
  [[nodiscard]] std::vector<Seen> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(seen_, {});
  }

 private:
  class Receiver final : public pqxx::notification_receiver {
   public:
    using pqxx::notification_receiver::notification_receiver;
    void operator()(const std::string&, int) override { told = true; }
    bool told = false;
  };

  void run(const std::stop_token& stop) {
    pqxx::connection reads(url_), listens(url_);
    tables_.prepare(reads);
    std::deque<Receiver> receivers;
    if (name_.empty()) {
      receivers.emplace_back(listens, "metatap_inventory");
    } else {
      receivers.emplace_back(listens, postgres::channel_of(name_));
      receivers.emplace_back(listens, std::string(postgres::kChannelOfHosts));
    }
    read(reads);
    bool news = false;
    for (auto ask = Clock::now() + 2s; !stop.stop_requested();) {
      const auto rest = std::chrono::ceil<std::chrono::microseconds>(pace_.next() - Clock::now());
      const auto patience = news ? std::clamp<std::chrono::microseconds>(rest, 1us, 200ms) : 200ms;
      listens.await_notification(0, static_cast<long>(patience.count()));
      for (auto& receiver : receivers) {
        news = std::exchange(receiver.told, false) || news;
      }
      if (Clock::now() >= ask) {
        pqxx::nontransaction look(listens);
        news = PostgresTables::anything_new(look, revision_, name_) || news;
        ask = Clock::now() + 2s;
      }
      if (news && Clock::now() >= pace_.next()) {
        news = false;
        const auto begin = Clock::now();
        read(reads);
        pace_.done(begin, Clock::now());
      }
    }
  }

  void read(pqxx::connection& connection) {
    AnswerLimit::Call call(limit_, connection.sock());
    pqxx::nontransaction work(connection);
    if (const auto status = tables_.read(work, call); !status) {
      give_up(status.error().message);
    }
    const std::lock_guard lock(mutex_);
    revision_ = tables_.state()->revision;
    seen_.push_back({Clock::now(), revision_});
  }

  const std::string url_, name_;
  PostgresTables tables_;
  AnswerLimit& limit_;
  ReadingPace pace_;
  std::atomic<std::uint64_t> revision_ = 0;
  std::mutex mutex_;
  std::vector<Seen> seen_;
  std::jthread thread_;
};

struct Change {
  Clock::time_point begun, stored;
  std::uint64_t revision;
  std::size_t host;
};

/// How long after the change was begun that host had it, in milliseconds; below zero: it has not.
double delay(const std::vector<Host::Seen>& seen, const Change& change) {
  const auto found = std::ranges::lower_bound(seen, change.revision, {}, &Host::Seen::revision);
  return found == seen.end()
             ? -1
             : std::chrono::duration<double, std::milli>(found->when - change.begun).count();
}

class Measurement {
 public:
  Measurement(const std::string& url, int hosts, bool parts)
      : parts_(parts), limit_(kLimit), writer_(PostgresStore::open(url, kLimit, "").value()) {
    auto loaded = writer_->load();
    if (!loaded) {
      give_up(loaded.error().message);
    }
    state_ = *loaded;
    PostgresTables everything(url, "");
    if (!parts) {
      pqxx::connection connection(url);
      AnswerLimit::Call call(limit_, connection.sock());
      everything.prepare(connection);
      pqxx::nontransaction work(connection);
      static_cast<void>(everything.read(work, call));
    }
    for (int host = 0; host < hosts; ++host) {
      const auto name = parts ? host_name(host) : "";
      hosts_.push_back(std::make_unique<Host>(
          url, name, parts ? PostgresTables(url, name) : everything, limit_));
    }
    for (const auto& host : hosts_) {
      while (host->revision() == 0) {
        std::this_thread::sleep_for(10ms);
      }
    }
  }

  /// Instances change in turn, one of each host's.
  std::string run(double rate, double seconds) {
    for (const auto& host : hosts_) {
      static_cast<void>(host->take());
    }
    std::vector<Change> changes;
    const auto begin = Clock::now();
    const auto pause =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / rate));
    const auto count = static_cast<std::size_t>(rate * seconds);
    for (std::size_t at = 0; at < count; ++at) {
      std::this_thread::sleep_until(begin + pause * at);
      changes.push_back(change(at));
    }
    const auto took = std::chrono::duration<double>(Clock::now() - begin).count();
    wait_for(changes);
    std::vector<std::vector<Host::Seen>> seen;
    std::size_t reads = 0;
    for (const auto& host : hosts_) {
      seen.push_back(host->take());
      reads += seen.back().size();
    }
    std::vector<double> delays, stored;
    for (const auto& change : changes) {
      double last = 0;
      for (std::size_t host = 0; host < hosts_.size(); ++host) {
        if (!parts_ || host == change.host) {
          const double one = delay(seen[host], change);
          last = one < 0 || last < 0 ? -1 : std::max(last, one);
        }
      }
      delays.push_back(last);
      stored.push_back(
          std::chrono::duration<double, std::milli>(change.stored - change.begun).count());
    }
    std::ranges::sort(delays);
    std::ranges::sort(stored);
    return fmt::format(
        R"({{"changes": {}, "seconds": {:.2f}, "reads": {}, "stored_ms": {:.1f}, "served_ms": {:.1f}, "served_p99_ms": {:.1f}, "missed": {}}})",
        changes.size(), took, reads, stored[stored.size() / 2], delays[delays.size() / 2],
        delays[delays.size() * 99 / 100],
        std::ranges::count_if(delays, [](double d) { return d < 0; }));
  }

 private:
  Change change(std::size_t at) {
    Change made{Clock::now(), {}, 0, at % hosts_.size()};
    Inventory wanted = *state_;
    const auto uuid = uuid_of('d', static_cast<int>(made.host));
    auto instance = std::make_shared<Instance>(*wanted.instances.at(uuid));
    instance->name = fmt::format("renamed-{}", ++names_);
    wanted.instances.insert_or_assign(uuid, std::move(instance));
    auto stored = writer_->replace(wanted);
    if (!stored) {
      give_up(stored.error().message);
    }
    state_ = stored->after;
    made.stored = Clock::now();
    made.revision = state_->revision;
    return made;
  }

  /// Until all whom the last changes concern have them.
  void wait_for(const std::vector<Change>& changes) {
    const auto end = Clock::now() + 60s;
    for (std::size_t at = changes.size() - std::min(changes.size(), hosts_.size());
         at < changes.size(); ++at) {
      for (std::size_t host = 0; host < hosts_.size(); ++host) {
        while ((!parts_ || host == changes[at].host) &&
               hosts_[host]->revision() < changes[at].revision && Clock::now() < end) {
          std::this_thread::sleep_for(1ms);
        }
      }
    }
  }

  const bool parts_;
  AnswerLimit limit_;
  std::unique_ptr<Store> writer_;
  std::shared_ptr<const Inventory> state_;
  std::size_t names_ = 0;
  std::vector<std::unique_ptr<Host>> hosts_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 4 && words[1] == "fill") {
    const auto store = PostgresStore::open(words[0], kLimit, "").value();
    const auto stored = store->replace(cloud(std::stoi(words[2]), std::stoi(words[3])));
    if (!stored) {
      give_up(stored.error().message);
    }
    return 0;
  }
  if (words.size() != 4 || words[1] != "follow") {
    give_up("inventory_hosts URL fill INSTANCES HOSTS | URL follow HOSTS all|host");
  }
  Measurement measurement(words[0], std::stoi(words[2]), words[3] == "host");
  std::cout << "ready" << std::endl;
  double rate = 0, seconds = 0;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream(line) >> rate >> seconds;
    std::cout << measurement.run(rate, seconds) << std::endl;
  }
  return 0;
}
