// SPDX-License-Identifier: Apache-2.0
#include "dataplane/old_path.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "sys/command.hpp"
#include "sys/netns.hpp"

namespace metatap::dataplane {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kPatience{1};
constexpr std::size_t kMostRules = std::size_t{16} << 20U;  ///< bytes of them
constexpr std::string_view kProxyPort = "9697";             ///< Neutron's metadata_port

std::string file_text(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class F>
void for_each_line(std::string_view text, F&& f) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    f(text.substr(0, end));
    if (end == std::string_view::npos) {
      return;
    }
    text.remove_prefix(end + 1);
  }
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::vector<std::string> metadata_rules(std::string_view program, std::string_view saved) {
  std::vector<std::string> rules;
  std::string_view table;
  for_each_line(saved, [&](std::string_view line) {
    if (line.starts_with('*')) {
      table = line.substr(1);
    } else if (line.starts_with("-A") &&
               (holds(line, "169.254.169.254") || holds(line, "fe80::a9fe:a9fe") ||
                holds(line, kProxyPort) ||
                (table == "filter" && holds(line, "--mark 0x1/0xffff")))) {
      rules.push_back(fmt::format("{} {}: {}", program, table, line));
    }
  });
  return rules;
}

std::vector<std::string> metadata_listeners(std::string_view table) {
  // "  0: FEA9FEA9:0050 00000000:0000 0A …": address and port in hexadecimal, 0A is LISTEN.
  std::vector<std::string> found;
  for_each_line(table, [&](std::string_view line) {
    std::istringstream words{std::string(line)};
    std::string number, local, remote, state;
    words >> number >> local >> remote >> state;
    const auto colon = local.find(':');
    if (state != "0A" || colon == std::string::npos) {
      return;
    }
    const auto address = local.substr(0, colon), port = local.substr(colon + 1);
    if (port == "25E1") {
      found.push_back(fmt::format("*:{}", kProxyPort));
    } else if (port == "0050" && address == "FEA9FEA9") {
      found.emplace_back("169.254.169.254:80");
    } else if (port == "0050" && address == "000080FE0000000000000000FEA9FEA9") {
      found.emplace_back("[fe80::a9fe:a9fe]:80");
    }
  });
  return found;
}

std::multimap<ino_t, pid_t> haproxies() {
  std::multimap<ino_t, pid_t> found;
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().string();
    pid_t pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr !=
            name.data() + name.size() ||
        file_text((it->path() / "comm").c_str()) != "haproxy\n") {
      continue;
    }
    struct stat info{};
    if (::stat((it->path() / "ns/net").c_str(), &info) == 0) {
      found.emplace(info.st_ino, pid);
    }
  }
  return found;
}

std::vector<OvnNamespace> ovn_namespaces() {
  constexpr std::string_view kPrefix = "ovnmeta-";
  constexpr std::size_t kIdInDevice = 10;  // Neutron's rule: of the network's id, then 0 or 1
  const auto names = sys::NetNamespace::names();
  std::vector<OvnNamespace> found;
  for (const auto& name : names.value_or(std::vector<std::string>())) {
    if (name.starts_with(kPrefix)) {
      auto id = name.substr(kPrefix.size());
      auto device = fmt::format("tap{}0", id.substr(0, kIdInDevice));
      found.push_back({name, std::move(id), std::move(device), {}});
    }
  }
  if (found.empty()) {
    return found;
  }
  const auto running = haproxies();
  for (auto& place : found) {
    if (const auto opened = sys::NetNamespace::open(place.name)) {
      const auto [first, last] = running.equal_range(opened->id().inode);
      for (auto one = first; one != last; ++one) {
        place.processes.push_back(fmt::format("haproxy, pid {}", one->second));
      }
    }
  }
  return found;
}

OldPath look_at_old_path(std::string name, PlaceName place) {
  OldPath old{std::move(name), std::move(place), {}, {}, {}};
  for (const auto* program : {"iptables", "ip6tables"}) {
    // The control thread waits for it. Where it is not there, or fails, there are no rules.
    const auto saved =
        sys::output_of({std::string(program) + "-save"}, kPatience, kMostRules).value_or("");
    std::ranges::move(metadata_rules(program, saved), std::back_inserter(old.rules));
  }
  for (const auto* table : {"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"}) {
    std::ranges::move(metadata_listeners(file_text(table)), std::back_inserter(old.listeners));
  }
  return old;
}

std::string OldPath::advice() const {
  const bool redirects = std::ranges::any_of(
      rules, [](const auto& rule) { return holds(rule, "REDIRECT") || holds(rule, kProxyPort); });
  if (!serves() && !redirects) {
    return {};
  }
  if (place.path == Path::router) {
    return "enable_metadata_proxy = False in l3_agent.ini turns it off (the mark and scope rules "
           "stay, and do no harm)";
  }
  return "enable_isolated_metadata = False and force_metadata = False in dhcp_agent.ini turn it "
         "off, but they also give guests the route of DHCP option 121; it may as well stay: "
         "metatap is asked first while it runs";
}

}  // namespace metatap::dataplane
