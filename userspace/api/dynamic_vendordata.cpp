// SPDX-License-Identifier: Apache-2.0
#include "api/dynamic_vendordata.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.hpp"
#include "base/log_limit.hpp"
#include "http/coroutine.hpp"
#include "http/gate.hpp"
#include "http/spawn.hpp"
#include "http/upstream.hpp"

namespace metatap::api {
namespace {

namespace asio = boost::asio;

/// More instances than that booting within the cache time, and some are asked twice.
constexpr std::size_t kMostKept = 4096;
constexpr std::size_t kMostBytesKept = std::size_t{32} << 20U;
constexpr std::size_t kMaxAnswer = 4U << 20U;
constexpr std::size_t kMostQuestions = 32;  // to one target at a time

}  // namespace

/// One service, and whether it is worth asking.
class DynamicVendordata::Target {
 public:
  Target(std::string its_name, Url parts, std::unique_ptr<http::Upstream> upstream)
      : name(std::move(its_name)), parts_(std::move(parts)), upstream_(std::move(upstream)) {}

  const std::string name;

  [[nodiscard]] asio::awaitable<Answer> ask(VendordataCounts<Counter>& counts,
                                            const Instance& instance, const std::string& question);

 private:
  /// What the service said, or why not. `unwell`: it cannot be reached, or not in time, whatever it
  /// is asked.
  [[nodiscard]] asio::awaitable<Answer> put(const std::string& question, bool& unwell);
  bool resting() {
    const std::scoped_lock lock(mutex_);
    return back_off_.resting(BackOff::Clock::now());
  }
  bool may_try() {
    const std::scoped_lock lock(mutex_);
    return back_off_.may_try(BackOff::Clock::now());
  }
  void learn(const std::string& instance, bool unwell);

  const Url parts_;
  const std::unique_ptr<http::Upstream> upstream_;
  const std::shared_ptr<http::Gate> gate_ = std::make_shared<http::Gate>(kMostQuestions);
  log::Limit complaint_;
  std::mutex mutex_;
  BackOff back_off_;
  std::string failed_for_;  ///< the last instance for which it was unwell
};

/// Of its failures in a row those of one instance count once: no guest can have it left alone for
/// all others.
void DynamicVendordata::Target::learn(const std::string& instance, bool unwell) {
  const std::scoped_lock lock(mutex_);
  const auto now = BackOff::Clock::now();
  if (!unwell) {
    back_off_.succeeded();
    failed_for_.clear();
  } else if (failed_for_ != instance) {
    back_off_.failed(now);
    failed_for_ = instance;
  }
}

asio::awaitable<DynamicVendordata::Answer> DynamicVendordata::Target::ask(
    VendordataCounts<Counter>& counts, const Instance& instance, const std::string& question) {
  // Before and after waiting for one's turn: meanwhile others may have found out.
  if (!resting()) {
    const auto pass = co_await gate_->enter();
    if (may_try()) {
      counts.vendordata_asked.add();
      bool unwell = false;
      auto answer = co_await put(question, unwell);
      learn(instance.uuid, unwell);
      if (!answer) {
        complaint_.warn("vendordata target {} for instance {}: {}", name, instance.uuid,
                        answer.error().message);
      }
      co_return answer;
    }
  }
  counts.vendordata_spared.add();
  co_return fail(ErrorCode::unavailable, "it failed before and is left alone for a moment");
}

Result<std::unique_ptr<DynamicVendordata>> DynamicVendordata::create(const ApiOptions& options) {
  std::unique_ptr<DynamicVendordata> made(new DynamicVendordata);
  made->failure_fatal_ = options.vendordata_dynamic_failure_fatal;
  made->keep_ = options.vendordata_dynamic_cache_time;
  for (const DynamicTarget& target : options.vendordata_dynamic_targets) {
    auto parts = Url::parse(target.url);
    if (!parts) {
      return tl::make_unexpected(
          std::move(parts).error().in("vendordata_dynamic_targets: " + target.name));
    }
    http::UpstreamOptions upstream;
    upstream.endpoint = http::TcpEndpoint{parts->host, parts->port};
    if (parts->tls) {
      upstream.tls = http::TlsOptions{.ca_file = options.vendordata_dynamic_ssl_certfile};
    }
    upstream.connect = options.vendordata_dynamic_connect_timeout;
    upstream.deadline =
        options.vendordata_dynamic_connect_timeout + options.vendordata_dynamic_read_timeout;
    upstream.max_response = kMaxAnswer;
    auto client = http::Upstream::create(std::move(upstream));
    if (!client) {
      return tl::make_unexpected(
          std::move(client).error().in("vendordata_dynamic_targets: " + target.name));
    }
    made->targets_.push_back(
        std::make_unique<Target>(target.name, std::move(*parts), std::move(*client)));
  }
  if (!made->targets_.empty()) {
    log::warn("vendordata: dynamic targets are asked without credentials");
  }
  return made;
}

std::string DynamicVendordata::question(const Instance& instance) {
  Json meta = Json::object();
  for (const auto& [key, value] : instance.metadata) {
    meta.set(key, Json::string(value));
  }
  const auto roles = instance.system_metadata.find("boot_roles");
  Json json = Json::object();
  json.set("project-id", Json::string(instance.project_id));
  json.set("instance-id", Json::string(instance.uuid));
  json.set("image-id", Json::string_or_null(instance.image_ref));
  json.set("user-data", Json::string_or_null(instance.user_data));
  json.set("hostname", Json::string(instance.hostname));
  json.set("metadata", std::move(meta));
  json.set("boot-roles",
           Json::string(roles == instance.system_metadata.end() ? "" : roles->second));
  return json.dump();
}

asio::awaitable<DynamicVendordata::Answer> DynamicVendordata::Target::put(
    const std::string& question, bool& unwell) {
  const std::array headers{
      Header{"Host", parts_.authority}, Header{"Content-Type", "application/json"},
      Header{"Accept", "application/json"}, Header{"User-Agent", "openstack-nova-vendordata"}};
  const Peer self{.in_process = true, .address = {}};
  Request request;
  request.method = "POST";
  request.target = parts_.target;
  request.headers = headers;
  request.body = question;
  request.peer = &self;
  const Response response = co_await http::co_ask(*upstream_, request);
  if (response.status < 200 || response.status > 299) {
    unwell = response.status >= 502 && response.status <= 504;
    co_return fail(ErrorCode::unavailable, fmt::format("status {}", response.status));
  }
  if (response.body.size() == 0) {
    co_return Json::object();
  }
  co_return Json::parse(response.body.str());
}

DynamicVendordata::DynamicVendordata() = default;
DynamicVendordata::~DynamicVendordata() = default;

std::optional<Json> DynamicVendordata::known(const std::shared_ptr<const Instance>& instance) {
  const std::scoped_lock lock(mutex_);
  const auto found = entries_.find(instance->uuid);
  if (found == entries_.end() || found->second.instance != instance || found->second.size == 0 ||
      found->second.until <= std::chrono::steady_clock::now()) {
    return std::nullopt;
  }
  counters_.vendordata_cached.add();
  return **found->second.answer;
}

void DynamicVendordata::make_room(std::chrono::steady_clock::time_point now) {
  const auto drop = [&](const auto& old) {
    return std::erase_if(entries_, [&](const auto& item) {
      const bool gone = !item.second.flight && old(item.second);
      kept_ -= gone ? item.second.size : 0;
      return gone;
    });
  };
  drop([&](const Entry& entry) { return entry.until <= now && !entry.back_off.resting(now); });
  if (entries_.size() >= kMostKept || kept_ >= kMostBytesKept) {
    drop([](const Entry&) { return true; });
  }
}

DynamicVendordata::Entry& DynamicVendordata::entry_of(
    const std::shared_ptr<const Instance>& instance) {
  if (entries_.size() >= kMostKept || kept_ >= kMostBytesKept) {
    make_room(std::chrono::steady_clock::now());
  }
  Entry& entry = entries_[instance->uuid];
  if (entry.instance != instance) {
    kept_ -= entry.size;
    entry = Entry{};
    entry.instance = instance;
  }
  return entry;
}

void DynamicVendordata::remember(const std::shared_ptr<const Instance>& instance,
                                 const Answer& answer, bool complete) {
  const auto now = std::chrono::steady_clock::now();
  const std::scoped_lock lock(mutex_);
  if (const auto found = entries_.find(instance->uuid);
      found != entries_.end() && found->second.instance != instance) {
    return;  // it has changed meanwhile
  }
  Entry& entry = entry_of(instance);
  kept_ -= entry.size;
  entry.answer = answer;
  entry.size = complete && keep_.count() != 0 ? answer->dump().size() : 0;
  kept_ += entry.size;
  entry.until = now + keep_;
  if (complete) {
    entry.back_off.succeeded();
  } else {
    entry.back_off.failed(now);
  }
}

/// The answer for those who wait, also when there is none.
class DynamicVendordata::Landing {
 public:
  Landing(DynamicVendordata& owner, std::shared_ptr<const Instance> instance,
          std::shared_ptr<http::Flight<Answer>> flight)
      : owner_(owner), instance_(std::move(instance)), flight_(std::move(flight)) {}
  Landing(const Landing&) = delete;
  Landing& operator=(const Landing&) = delete;
  ~Landing() {
    {
      const std::scoped_lock lock(owner_.mutex_);
      const auto found = owner_.entries_.find(instance_->uuid);
      if (found != owner_.entries_.end() && found->second.flight == flight_) {
        found->second.flight.reset();
      }
    }
    flight_->land(std::move(answer));
  }
  Answer answer = fail(ErrorCode::unavailable, "the question was given up");

 private:
  DynamicVendordata& owner_;
  const std::shared_ptr<const Instance> instance_;
  const std::shared_ptr<http::Flight<Answer>> flight_;
};

asio::awaitable<Result<Json>> DynamicVendordata::ask(std::shared_ptr<const Instance> instance) {
  std::shared_ptr<http::Flight<Answer>> flight;
  bool ours = false;
  {
    const std::scoped_lock lock(mutex_);
    Entry& entry = entry_of(instance);
    if (entry.flight) {
      flight = entry.flight;
    } else if (entry.answer && !entry.back_off.may_try(BackOff::Clock::now())) {
      counters_.vendordata_spared.add();
      co_return *entry.answer;
    } else {
      flight = entry.flight = std::make_shared<http::Flight<Answer>>();
      ours = true;
    }
  }
  if (!ours) {
    co_return co_await flight->wait();
  }
  Landing landing(*this, instance, flight);
  bool complete = true;
  landing.answer = co_await ask_all(instance, complete);
  remember(instance, landing.answer, complete);
  co_return landing.answer;
}

asio::awaitable<DynamicVendordata::Answer> DynamicVendordata::ask_all(
    std::shared_ptr<const Instance> instance, bool& complete) {
  // Everything here runs on the caller's executor, one thread: no locks.
  struct Round {
    explicit Round(const asio::any_io_executor& executor) : done(executor) {}
    std::vector<Answer> answers;
    std::size_t open = 0;
    asio::steady_timer done;
  };
  const auto executor = co_await asio::this_coro::executor;
  const auto round = std::make_shared<Round>(executor);
  const std::string text = question(*instance);
  round->open = targets_.size();
  round->answers.assign(targets_.size(), Json::object());
  round->done.expires_at(std::chrono::steady_clock::time_point::max());
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    http::spawn(
        executor,
        [](DynamicVendordata& self, std::shared_ptr<Round> shared, std::size_t index,
           std::shared_ptr<const Instance> whose, std::string body) -> asio::awaitable<void> {
          shared->answers[index] = co_await self.targets_[index]->ask(self.counters_, *whose, body);
          if (--shared->open == 0) {
            shared->done.cancel();
          }
        }(*this, round, i, instance, text),
        "vendordata target " + targets_[i]->name,
        [round, i](Error why) {
          round->answers[i] = tl::make_unexpected(std::move(why));
          if (--round->open == 0) {
            round->done.cancel();
          }
        });
  }
  while (round->open > 0) {
    (void)co_await round->done.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  Json values = Json::object();
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    Answer& answer = round->answers[i];
    if (!answer) {
      counters_.vendordata_failed.add();
      complete = false;
      if (failure_fatal_) {
        co_return fail(ErrorCode::unavailable,
                       "vendordata target " + targets_[i]->name + ": " + answer.error().message);
      }
      answer = Json::object();
    }
    values.set(targets_[i]->name, std::move(*answer));
  }
  co_return values;
}

}  // namespace metatap::api
