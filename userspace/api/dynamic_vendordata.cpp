// SPDX-License-Identifier: Apache-2.0
#include "api/dynamic_vendordata.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>

#include "base/log.hpp"
#include "http/coroutine.hpp"
#include "http/spawn.hpp"
#include "http/upstream.hpp"

namespace metatap::api {
namespace {

namespace asio = boost::asio;

/// More instances than that booting within the cache time, and some are asked twice.
constexpr std::size_t kMaxCached = 4096;
constexpr std::size_t kMaxAnswer = 4U << 20U;

}  // namespace

Result<DynamicVendordata::Url> DynamicVendordata::parse_url(std::string_view url) {
  const auto invalid = [&](std::string_view why) {
    return fail(ErrorCode::invalid, fmt::format("'{}': {}", url, why));
  };
  Url parts;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    parts.tls = true;
    parts.port = 443;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return invalid("not an http:// or https:// url");
  }
  const auto slash = rest.find_first_of("/?");
  auto authority = rest.substr(0, slash);
  if (slash != std::string_view::npos) {
    parts.target = rest.substr(slash, rest.find('#') - slash);
    if (parts.target.front() == '?') {
      parts.target.insert(0, "/");
    }
  }
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
    return invalid("user names and passwords in urls are not supported");
  }
  parts.authority = authority;
  std::string_view port;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos) {
      return invalid("no ']'");
    }
    parts.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
  } else {
    const auto colon = authority.find(':');
    parts.host = authority.substr(0, colon);
    port = colon == std::string_view::npos ? std::string_view() : authority.substr(colon);
  }
  if (parts.host.empty()) {
    return invalid("no host");
  }
  if (!port.empty()) {
    const auto end = std::from_chars(port.data() + 1, port.data() + port.size(), parts.port);
    if (port.front() != ':' || end.ec != std::errc() || end.ptr != port.data() + port.size() ||
        parts.port == 0) {
      return invalid("not a port");
    }
  }
  return parts;
}

Result<std::unique_ptr<DynamicVendordata>> DynamicVendordata::create(const ApiOptions& options) {
  std::unique_ptr<DynamicVendordata> made(new DynamicVendordata);
  made->failure_fatal_ = options.vendordata_dynamic_failure_fatal;
  made->keep_ = options.vendordata_dynamic_cache_time;
  for (const DynamicTarget& target : options.vendordata_dynamic_targets) {
    auto parts = parse_url(target.url);
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
    made->targets_.push_back({target.name, target.url, std::move(*parts), std::move(*client)});
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

std::optional<Json> DynamicVendordata::known(const std::shared_ptr<const Instance>& instance) {
  const std::scoped_lock lock(mutex_);
  const auto found = cache_.find(instance->uuid);
  if (found == cache_.end() || found->second.instance != instance ||
      found->second.until <= std::chrono::steady_clock::now()) {
    return std::nullopt;
  }
  cached.add();
  return found->second.value;
}

void DynamicVendordata::remember(const std::shared_ptr<const Instance>& instance,
                                 const Json& value) {
  if (keep_.count() == 0) {
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  const std::scoped_lock lock(mutex_);
  if (cache_.size() >= kMaxCached) {
    std::erase_if(cache_, [&](const auto& entry) { return entry.second.until <= now; });
    if (cache_.size() >= kMaxCached) {
      cache_.clear();
    }
  }
  cache_[instance->uuid] = {instance, now + keep_, value};
}

asio::awaitable<Result<Json>> DynamicVendordata::ask_one(const Target& target,
                                                         const std::string& question) {
  asked.add();
  const std::array headers{
      Header{"Host", target.parts.authority}, Header{"Content-Type", "application/json"},
      Header{"Accept", "application/json"}, Header{"User-Agent", "openstack-nova-vendordata"}};
  const Peer self{.in_process = true, .address = {}};
  Request request;
  request.method = "POST";
  request.target = target.parts.target;
  request.headers = headers;
  request.body = question;
  request.peer = &self;
  const Response response = co_await http::co_ask(*target.upstream, request);
  if (response.status < 200 || response.status > 299) {
    co_return fail(ErrorCode::unavailable, fmt::format("status {}", response.status));
  }
  if (response.body.size() == 0) {
    co_return Json::object();
  }
  co_return Json::parse(response.body.str());
}

asio::awaitable<Result<Json>> DynamicVendordata::ask(std::shared_ptr<const Instance> instance) {
  // Everything here runs on the caller's executor, one thread: no locks.
  struct Round {
    explicit Round(const asio::any_io_executor& executor) : done(executor) {}
    std::vector<Result<Json>> answers;
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
           std::string body) -> asio::awaitable<void> {
          shared->answers[index] = co_await self.ask_one(self.targets_[index], body);
          if (--shared->open == 0) {
            shared->done.cancel();
          }
        }(*this, round, i, text),
        "vendordata target " + targets_[i].name,
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
  bool complete = true;
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    Result<Json>& answer = round->answers[i];
    if (!answer) {
      failed.add();
      complete = false;
      log::warn("vendordata target {} for instance {}: {}", targets_[i].name, instance->uuid,
                answer.error().message);
      if (failure_fatal_) {
        co_return fail(ErrorCode::unavailable,
                       "vendordata target " + targets_[i].name + ": " + answer.error().message);
      }
      answer = Json::object();
    }
    values.set(targets_[i].name, std::move(*answer));
  }
  if (complete) {
    remember(instance, values);
  }
  co_return values;
}

}  // namespace metatap::api
