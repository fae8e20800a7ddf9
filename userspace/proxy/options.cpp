// SPDX-License-Identifier: Apache-2.0
#include "proxy/options.hpp"

#include <algorithm>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "base/option_reader.hpp"

namespace metatap::proxy {
namespace {

void read_access(OptionReader& read, AccessOptions& options) {
  constexpr long kLongestWindow = 365L * 86'400;
  std::filesystem::path state_path = "/var/lib/metatap", run_path = "/run/metatap";
  read.text({"DEFAULT", "state_path", "Where state is kept over restarts"}, state_path);
  read.text({"DEFAULT", "run_path", "Sockets and what lives until the next start"}, run_path);
  options.key_file = state_path / "tokens.key";
  options.records_file = run_path / "ports.seen";
  read.choice({"proxy", "tokens", "Whether guests must show session tokens (IMDSv2)"},
              options.access.tokens,
              {{"off", TokenMode::off},
               {"optional", TokenMode::optional},
               {"required", TokenMode::required},
               {"ratchet", TokenMode::ratchet}});
  read.seconds({"proxy", "boot_window", "For how long a port that came may ask as one that boots"},
               options.access.boot_window, 0, kLongestWindow);
  read.integer({"proxy", "token_hop_limit", "How far tokens travel; 0: as far as anything", "hops"},
               options.token_hop_limit, 0, 255);
  read.list({"proxy", "sealed", "Patterns of paths that only a guest that boots may read"},
            options.sealed);
  read.list({"proxy", "read_once", "Patterns of paths that are answered once after a port came"},
            options.read_once);
  options.access.once = !options.read_once.empty();
}

void read_changes(OptionReader& read, ProxyOptions& options) {
  constexpr long kLongest = 365L * 86'400;
  LongPollRules& rules = options.long_poll;
  read.choice({"proxy", "etags", "Whether answers carry entity tags; asked: with If-None-Match"},
              options.etags,
              {{"off", EtagMode::off}, {"asked", EtagMode::asked}, {"always", EtagMode::always}});
  read.integer({"proxy", "max_waiting", "Requests that wait for a change; 0: none may"}, rules.most,
               0, 1'000'000);
  read.integer({"proxy", "max_waiting_per_port", "Of these, of one port"}, rules.most_of_port, 0,
               1'000'000);
  read.seconds(
      {"proxy", "change_poll", "How often they are answered anew where nobody tells of changes"},
      rules.look_every, 1, kLongest);
  read.seconds({"proxy", "longest_wait", "After which one gets what there is"}, rules.longest, 1,
               kLongest);
}

void read_ledger(OptionReader& read, ledger::LedgerOptions& options) {
  read.text({"proxy", "ledger", "The directory of the access ledger; empty: none is kept"},
            options.directory);
  read.require("proxy", "ledger", options.directory.empty() || options.directory.is_absolute(),
               "a path from / on");
  read.integer({"proxy", "ledger_file_size", "When the ledger's next file begins", "bytes"},
               options.limits.file_size, 64L << 10U, 256L << 20U);
  read.integer({"proxy", "ledger_files", "How many there are; the oldest go", "files"},
               options.limits.files, 2, 100'000);
}

}  // namespace

Result<ProxyOptions> ProxyOptions::from(const Config& config) {
  constexpr long kLongest = 365L * 86'400;  // Neutron has no such limit
  ProxyOptions options;
  OptionReader read(config);
  options.metadata_proxy_socket = "$state_path/metadata_proxy";
  read.text(
      {"DEFAULT", "metadata_proxy_socket", "Where the agent listens, when it is another process"},
      options.metadata_proxy_socket);

  constexpr std::string_view kHaproxy = "metadata_haproxy";
  read.seconds({kHaproxy, "timeout_connect", "How long connecting to the agent may take"},
               options.timeout_connect, 1, kLongest);
  read.seconds({kHaproxy, "timeout_server", "How long the agent's answer may take"},
               options.timeout_server, 1, kLongest);
  read.seconds({kHaproxy, "timeout_client", "How long a guest may leave an answer unread"},
               options.limits.write, 1, kLongest);
  read.seconds({kHaproxy, "timeout_http_request", "Within which a request must have arrived"},
               options.limits.request, 1, kLongest);
  options.limits.head_within = options.limits.request;
  read.seconds({kHaproxy, "timeout_http_keep_alive", "How long a connection may be idle"},
               options.limits.idle, 1, kLongest);

  options.workers = 0;
  read.integer({"proxy", "workers", "Threads that serve guests; 0: two, or one on one CPU"},
               options.workers, 0, 256);
  if (options.workers == 0) {
    // More threads answer more, but each then wakes for fewer events: a request costs more CPU.
    options.workers = std::clamp(std::thread::hardware_concurrency(), 1U, 2U);
  }
  read.integer({"proxy", "max_connections_per_network", "Beyond it a network's guests get 503"},
               options.max_connections_per_network, 1, 1'000'000);
  read.integer({"proxy", "max_connections_per_port", "Beyond it a port gets 503"},
               options.max_connections_per_port, 1, 1'000'000);
  read.integer({"proxy", "max_connections_unknown",
                "Beyond it addresses of a network that are no port's get 503"},
               options.max_connections_unknown, 1, 1'000'000);
  read.integer({"proxy", "max_head", "The longest head of a request", "bytes"}, options.limits.head,
               512, 1L << 20U);
  read.integer({"proxy", "max_target", "The longest target of a request", "bytes"},
               options.limits.target, 64, 1L << 20U);
  read.integer({"proxy", "max_body", "The longest body of a request", "bytes"}, options.limits.body,
               0, 1L << 30U);
  read.boolean({"proxy", "neutron_agent",
                "The agent is Neutron's own, which reads a request with one read of 4096 bytes"},
               options.neutron_agent);
  read.integer(
      {"proxy", "access_log_sample", "One answer in so many is a line of the access log; 0: none"},
      options.access_log_sample, 0, 1'000'000'000);

  read.seconds({"proxy", "hold_unknown",
                "How long a request waits while no port has its device; 0: not at all"},
               options.hold_unknown, 0, 300);

  read_access(read, options.access);
  read_changes(read, options);
  read_ledger(read, options.ledger);

  constexpr std::string_view kRate = "metadata_rate_limiting";
  RateLimit& rate = options.rate_limit;
  read.boolean({kRate, "rate_limit_enabled", "Requests of a port are limited"}, rate.enabled);
  read.seconds({kRate, "base_window_duration", "The window of the base rate"}, rate.base.window, 1,
               kLongest);
  read.integer({kRate, "base_query_rate_limit", "How many it admits", "requests"},
               rate.base.requests, 1, 1'000'000'000);
  read.seconds({kRate, "burst_window_duration", "The window of the burst rate"}, rate.burst.window,
               1, kLongest);
  read.integer({kRate, "burst_query_rate_limit", "How many it admits", "requests"},
               rate.burst.requests, 1, 1'000'000'000);
  std::vector<std::string> versions{"4"};
  read.list({kRate, "ip_versions", "The IP version that is limited, exactly one: 4 or 6"},
            versions);
  read.require(
      kRate, "ip_versions",
      std::ranges::all_of(
          versions, [](const std::string& version) { return version == "4" || version == "6"; }),
      "4 or 6");
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  if (rate.enabled && versions.size() != 1) {  // as Neutron has it
    log::warn("metadata rate limiting is off: ip_versions must name exactly one IP version");
    rate.enabled = false;
  }
  return options;
}

http::UpstreamOptions ProxyOptions::upstream() const {
  http::UpstreamOptions upstream;
  upstream.endpoint = http::UnixEndpoint{.path = metadata_proxy_socket};
  upstream.deadline = timeout_server;
  upstream.connect = std::min(timeout_connect, timeout_server);
  upstream.pass_headers = {"Retry-After", "Age", "Cache-Status"};  // the last two are a shield's
  if (neutron_agent) {
    upstream.keep_alive = false;
    upstream.max_request = kNeutronReads;
  }
  return upstream;
}

}  // namespace metatap::proxy
