// SPDX-License-Identifier: Apache-2.0
// The load that wrk cannot make: many guests at once, each a network namespace with its own
// address; fixed source ports; cloud-init's boot sequence; the moment of the first answer; SYNs.
// One epoll loop per thread; every result is one JSON object on standard output.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;

Nanoseconds now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time{};
  clock_gettime(clock, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

[[noreturn]] void die(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

/// Latencies in buckets that are 1/64 wide: two significant digits, constant memory.
class Histogram {
 public:
  void add(Nanoseconds value) {
    const auto v = static_cast<std::uint64_t>(std::max<Nanoseconds>(value, 1));
    const int shift = std::max(0, static_cast<int>(std::bit_width(v)) - kBits - 1);
    const auto index = (static_cast<std::size_t>(shift) << kBits) + (v >> shift);
    ++counts_[std::min(index, counts_.size() - 1)];
    ++total_;
    max_ = std::max(max_, value);
  }
  void merge(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] += other.counts_[i];
    }
    total_ += other.total_;
    max_ = std::max(max_, other.max_);
  }
  [[nodiscard]] double us(double quantile) const {
    const auto wanted = static_cast<std::uint64_t>(quantile * static_cast<double>(total_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > wanted) {
        return std::min(static_cast<double>(value_of(i)), static_cast<double>(max_)) / 1e3;
      }
    }
    return static_cast<double>(max_) / 1e3;
  }
  [[nodiscard]] std::string json() const {
    constexpr std::array kQuantiles = {0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999};
    std::string text = "{";
    char item[64];
    for (const double quantile : kQuantiles) {
      std::snprintf(item, sizeof(item), "\"p%g\": %.1f, ", quantile * 100, us(quantile));
      text += item;
    }
    std::snprintf(item, sizeof(item), "\"max\": %.1f}", static_cast<double>(max_) / 1e3);
    return text + item;
  }

 private:
  static constexpr int kBits = 6;
  static std::uint64_t value_of(std::size_t index) {
    const auto shift = index < (2U << kBits) ? 0 : (index >> kBits) - 1;
    const auto base = index - (shift << kBits);
    return (base << shift) + ((std::uint64_t{1} << shift) >> 1);
  }
  std::array<std::uint64_t, 64UL << kBits> counts_{};
  std::uint64_t total_ = 0;
  Nanoseconds max_ = 0;
};

struct Options {
  std::vector<std::string> guests;
  std::string guests_file, address = "169.254.169.254",
                           path = "/openstack/2018-08-27/meta_data.json";
  std::uint16_t port = 80, source_port = 0;
  unsigned threads = 1, clients = 1;
  double seconds = 2;
  bool keep_alive = false, once = false;
  double timeout = 10;
  // first
  unsigned interval_us = 500;
  // syn
  std::string device = "eth0", source_address, destination_mac;
  unsigned count = 100'000;
};

/// cloud-init 23+ with the OpenStack data source, first boot, key pair and user data: 28 requests.
constexpr std::array kBoot = {
    "/openstack",
    "/openstack",
    "/openstack/2018-08-27/meta_data.json",
    "/openstack/2018-08-27/user_data",
    "/openstack/2018-08-27/vendor_data.json",
    "/openstack/2018-08-27/vendor_data2.json",
    "/openstack/2018-08-27/network_data.json",
    "/latest/meta-data/",
    "/latest/meta-data/block-device-mapping/",
    "/latest/meta-data/block-device-mapping/ami",
    "/latest/meta-data/block-device-mapping/root",
    "/latest/meta-data/placement/",
    "/latest/meta-data/placement/availability-zone",
    "/latest/meta-data/public-keys/",
    "/latest/meta-data/public-keys/0/openssh-key",
    "/latest/meta-data/ami-id",
    "/latest/meta-data/ami-launch-index",
    "/latest/meta-data/ami-manifest-path",
    "/latest/meta-data/hostname",
    "/latest/meta-data/instance-action",
    "/latest/meta-data/instance-id",
    "/latest/meta-data/instance-type",
    "/latest/meta-data/local-hostname",
    "/latest/meta-data/local-ipv4",
    "/latest/meta-data/public-hostname",
    "/latest/meta-data/public-ipv4",
    "/latest/meta-data/reservation-id",
    "/latest/meta-data/security-groups",
};

class Guest {
 public:
  explicit Guest(const std::string& name)
      : fd_(name == "." ? -1 : open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0 && name != ".") {
      die("namespace " + name);
    }
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  ~Guest() { close(fd_); }

  /// Moves the calling thread into the guest's namespace, unless it is there already.
  void enter() const {
    thread_local int current = -1;
    if (current != fd_) {
      if (setns(fd_, CLONE_NEWNET) != 0) {
        die("setns");
      }
      current = fd_;
    }
  }

 private:
  int fd_;
};

struct Tally {
  Histogram latency, done;
  std::uint64_t requests = 0;
  std::map<std::string, std::uint64_t> failures;
  Nanoseconds cpu = 0, wall = 0, last = 0;

  void merge(const Tally& other) {
    latency.merge(other.latency);
    done.merge(other.done);
    requests += other.requests;
    cpu += other.cpu;
    wall = std::max(wall, other.wall);
    last = std::max(last, other.last);
    for (const auto& [reason, count] : other.failures) {
      failures[reason] += count;
    }
  }
};

/// One client: a guest's requests one after another, on one connection or a new one for each.
struct Client {
  const Guest* guest = nullptr;
  unsigned number = 0;
  int fd = -1;
  std::size_t step = 0;
  Nanoseconds started = 0;
  std::string input;
  std::size_t need = 0;  ///< bytes of the whole response, 0: its head is not there yet
  unsigned status = 0;
  bool finished = false, connecting = false;
};

class Worker {
 public:
  Worker(const Options& options, bool storm) : options_(options), storm_(storm) {
    poll_ = epoll_create1(EPOLL_CLOEXEC);
    address_.sin_family = AF_INET;
    address_.sin_port = htons(options.port);
    inet_pton(AF_INET, options.address.c_str(), &address_.sin_addr);
    const std::string tail =
        std::string(" HTTP/1.1\r\nHost: ") + options.address +
        "\r\nUser-Agent: Cloud-Init/bench\r\nAccept-Encoding: gzip, deflate\r\n"
        "Accept: */*\r\nConnection: " +
        (options.keep_alive ? "keep-alive" : "close") + "\r\n\r\n";
    if (storm && !options.once) {
      for (const char* path : kBoot) {
        requests_.push_back(std::string("GET ") + path + tail);
      }
    } else {
      requests_.push_back("GET " + options.path + tail);
    }
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { close(poll_); }

  void add(const Guest& guest, unsigned number) {
    clients_.push_back(std::make_unique<Client>());
    clients_.back()->guest = &guest;
    clients_.back()->number = number;
  }

  Tally run(std::barrier<>& start) {
    start.arrive_and_wait();
    begin_ = now();
    const Nanoseconds cpu = now(CLOCK_THREAD_CPUTIME_ID);
    const Nanoseconds until = begin_ + static_cast<Nanoseconds>(options_.seconds * 1e9);
    left_ = clients_.size();
    for (auto& client : clients_) {
      begin(*client);
    }
    std::array<epoll_event, 256> ready;
    Nanoseconds check = begin_;
    while (left_ != 0) {
      const int count = epoll_wait(poll_, ready.data(), static_cast<int>(ready.size()), 20);
      for (int i = 0; i < count; ++i) {
        const auto& event = ready[static_cast<std::size_t>(i)];
        progress(*static_cast<Client*>(event.data.ptr), event.events);
      }
      for (Client* client : std::exchange(again_, {})) {
        begin(*client);
      }
      const Nanoseconds time = now();
      if (!storm_ && time >= until) {
        break;
      }
      if (time - check > 100'000'000) {
        check = time;
        for (auto& client : clients_) {
          if (!client->finished &&
              time - client->started > static_cast<Nanoseconds>(options_.timeout * 1e9)) {
            failed(*client, "timeout");
          }
        }
      }
    }
    tally_.wall = now() - begin_;
    tally_.cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    return std::move(tally_);
  }

 private:
  void begin(Client& client) {
    client.started = now();
    client.input.clear();
    client.need = 0;
    if (client.fd >= 0) {
      write_request(client);
      return;
    }
    client.guest->enter();
    client.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options_.source_port != 0) {
      setsockopt(client.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      sockaddr_in source{};
      source.sin_family = AF_INET;
      source.sin_port = htons(static_cast<std::uint16_t>(options_.source_port + client.number));
      if (bind(client.fd, reinterpret_cast<sockaddr*>(&source), sizeof(source)) != 0) {
        failed(client, "bind: " + std::string(std::strerror(errno)));
        return;
      }
    }
    client.connecting = true;
    if (connect(client.fd, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) != 0 &&
        errno != EINPROGRESS) {
      failed(client, "connect: " + std::string(std::strerror(errno)));
      return;
    }
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.ptr = &client;
    epoll_ctl(poll_, EPOLL_CTL_ADD, client.fd, &event);
  }

  void write_request(Client& client) {
    const std::string& request = requests_[client.step % requests_.size()];
    if (send(client.fd, request.data(), request.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(request.size())) {
      failed(client, "send: " + std::string(std::strerror(errno)));
    }
  }

  void progress(Client& client, std::uint32_t events) {
    if (client.fd < 0) {
      return;
    }
    if (client.connecting) {
      if ((events & EPOLLERR) != 0) {
        int error = 0;
        socklen_t size = sizeof(error);
        getsockopt(client.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        failed(client, "connect: " + std::string(std::strerror(error)));
        return;
      }
      if ((events & EPOLLOUT) == 0) {
        return;
      }
      client.connecting = false;
      write_request(client);
      return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
      return;
    }
    char buffer[65536];
    for (;;) {
      const ssize_t got = recv(client.fd, buffer, sizeof(buffer), 0);
      if (got < 0) {
        if (errno != EAGAIN) {
          failed(client, "recv: " + std::string(std::strerror(errno)));
        }
        return;
      }
      if (got == 0) {
        failed(client, "closed early");
        return;
      }
      client.input.append(buffer, static_cast<std::size_t>(got));
      if (client.need == 0 && !read_head(client)) {
        return;
      }
      if (client.need != 0 && client.input.size() >= client.need) {
        complete(client);
        return;
      }
      if (got < static_cast<ssize_t>(sizeof(buffer))) {
        return;
      }
    }
  }

  bool read_head(Client& client) {
    const auto end = client.input.find("\r\n\r\n");
    if (end == std::string::npos) {
      return true;
    }
    if (end < 12) {
      failed(client, "not HTTP");
      return false;
    }
    client.status = static_cast<unsigned>(std::atoi(client.input.c_str() + 9));
    std::size_t length = 0;
    for (std::size_t at = client.input.find("\r\n"); at < end;
         at = client.input.find("\r\n", at + 2)) {
      if (strncasecmp(client.input.c_str() + at + 2, "content-length:", 15) == 0) {
        length = static_cast<std::size_t>(std::atol(client.input.c_str() + at + 17));
      }
    }
    client.need = end + 4 + length;
    return true;
  }

  void complete(Client& client) {
    const Nanoseconds time = now();
    tally_.latency.add(time - client.started);
    if (client.status == 200) {
      ++tally_.requests;
    } else {
      ++tally_.failures["status " + std::to_string(client.status)];
    }
    if (!options_.keep_alive) {
      drop(client);
    }
    next(client, time);
  }

  void failed(Client& client, const std::string& reason) {
    ++tally_.failures[reason];
    drop(client);
    if (storm_) {
      next(client, now());
    } else {
      again_.push_back(&client);
    }
  }

  void next(Client& client, Nanoseconds time) {
    ++client.step;
    if (storm_ && client.step == requests_.size()) {
      client.finished = true;
      drop(client);
      --left_;
      tally_.done.add(time - begin_);
      tally_.last = time - begin_;
      return;
    }
    if (!storm_ && time - begin_ > static_cast<Nanoseconds>(options_.seconds * 1e9)) {
      client.finished = true;
      drop(client);
      --left_;
      return;
    }
    begin(client);
  }

  void drop(Client& client) {
    if (client.fd >= 0) {
      close(client.fd);
      client.fd = -1;
    }
    client.connecting = false;
  }

  const Options& options_;
  bool storm_;
  int poll_ = -1;
  sockaddr_in address_{};
  std::vector<std::string> requests_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Client*> again_;  ///< failed: tried again after the next wait, not at once
  std::size_t left_ = 0;
  Nanoseconds begin_ = 0;
  Tally tally_;
};

std::vector<std::unique_ptr<Guest>> guests_of(const Options& options) {
  std::vector<std::unique_ptr<Guest>> guests;
  for (const auto& name : options.guests) {
    guests.push_back(std::make_unique<Guest>(name));
  }
  if (!options.guests_file.empty()) {
    std::ifstream file(options.guests_file);
    for (std::string name; std::getline(file, name);) {
      guests.push_back(std::make_unique<Guest>(name));
    }
  }
  if (guests.empty()) {
    guests.push_back(std::make_unique<Guest>("."));
  }
  return guests;
}

int load(const Options& options, bool storm) {
  const auto guests = guests_of(options);
  const unsigned threads =
      static_cast<unsigned>(std::min<std::size_t>(options.threads, guests.size()));
  std::vector<std::unique_ptr<Worker>> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.push_back(std::make_unique<Worker>(options, storm));
  }
  const std::size_t clients =
      storm ? guests.size() : std::max<std::size_t>(options.clients, guests.size());
  for (std::size_t i = 0; i < clients; ++i) {
    const auto guest = i % guests.size();
    workers[guest % threads]->add(*guests[guest], static_cast<unsigned>(i));
  }
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<Tally> tallies(threads);
  std::vector<std::thread> pool;
  std::atomic<bool> broken = false;
  for (unsigned i = 0; i < threads; ++i) {
    pool.emplace_back([&, i] {
      try {
        tallies[i] = workers[i]->run(start);
      } catch (const std::exception& e) {
        std::fprintf(stderr, "loadgen: %s\n", e.what());
        broken = true;
      }
    });
  }
  for (auto& thread : pool) {
    thread.join();
  }
  if (broken) {
    return 1;
  }
  Tally all;
  double busiest = 0;
  for (const auto& tally : tallies) {
    busiest = std::max(busiest, static_cast<double>(tally.cpu) / static_cast<double>(tally.wall));
    all.merge(tally);
  }
  std::string failures;
  std::uint64_t failed = 0;
  for (const auto& [reason, count] : all.failures) {
    failures += (failures.empty() ? "\"" : ", \"") + reason + "\": " + std::to_string(count);
    failed += count;
  }
  std::printf(
      "{\"requests\": %llu, \"failed\": %llu, \"failures\": {%s}, \"seconds\": %.6f, "
      "\"cpu_seconds\": %.6f, \"busiest_thread\": %.3f, \"threads\": %u, \"latency_us\": %s",
      static_cast<unsigned long long>(all.requests), static_cast<unsigned long long>(failed),
      failures.c_str(), static_cast<double>(all.wall) / 1e9, static_cast<double>(all.cpu) / 1e9,
      busiest, threads, all.latency.json().c_str());
  if (storm) {
    std::printf(", \"guests\": %zu, \"last_seconds\": %.6f, \"guest_done_us\": %s", guests.size(),
                static_cast<double>(all.last) / 1e9, all.done.json().c_str());
  }
  std::printf("}\n");
  return 0;
}

/// Opens a connection every `interval_us` and says when (CLOCK_MONOTONIC) the first whole answer
/// came. Says so once a first attempt is under way, so that a caller can start what it measures.
int first(const Options& options) {
  const auto guests = guests_of(options);
  guests.front()->enter();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options.port);
  inet_pton(AF_INET, options.address.c_str(), &address.sin_addr);
  const std::string request = "GET " + options.path + " HTTP/1.1\r\nHost: " + options.address +
                              "\r\nConnection: close\r\n\r\n";
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  struct Attempt {
    int fd;
    Nanoseconds started;
    bool sent;
  };
  std::map<int, Attempt> attempts;
  const Nanoseconds begin = now(), limit = begin + static_cast<Nanoseconds>(options.timeout * 1e9);
  Nanoseconds next = begin;
  std::uint64_t tried = 0, refused = 0;
  bool announced = false;
  while (now() < limit) {
    if (now() >= next) {
      next = now() + options.interval_us * 1000LL;
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      ++tried;
      if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ||
          errno == EINPROGRESS) {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLET;
        event.data.fd = fd;
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
        attempts[fd] = {fd, now(), false};
      } else {
        close(fd);
      }
      if (!announced) {
        std::printf("trying\n");
        std::fflush(stdout);
        announced = true;
      }
    }
    std::array<epoll_event, 64> ready;
    timespec wait{0, std::max<long>(1000, next - now())};
    const int count = epoll_pwait2(poll, ready.data(), 64, &wait, nullptr);
    for (int i = 0; i < count; ++i) {
      const int fd = ready[static_cast<std::size_t>(i)].data.fd;
      const auto found = attempts.find(fd);
      if (found == attempts.end()) {
        continue;
      }
      const auto events = ready[static_cast<std::size_t>(i)].events;
      if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        ++refused;
        attempts.erase(found);
        close(fd);
        continue;
      }
      if (!found->second.sent && (events & EPOLLOUT) != 0) {
        found->second.sent = true;
        if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
          continue;
        }
      }
      if ((events & EPOLLIN) != 0) {
        char buffer[4096];
        const ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        if (got > 12 && std::strncmp(buffer + 9, "200", 3) == 0) {
          std::printf("{\"at_ns\": %lld, \"tried\": %llu, \"refused\": %llu}\n",
                      static_cast<long long>(now()), static_cast<unsigned long long>(tried),
                      static_cast<unsigned long long>(refused));
          return 0;
        }
        attempts.erase(found);
        close(fd);
      }
    }
    for (auto it = attempts.begin(); it != attempts.end();) {
      if (now() - it->second.started > 100'000'000) {
        close(it->first);
        it = attempts.erase(it);
      } else {
        ++it;
      }
    }
  }
  std::printf("{\"at_ns\": null, \"tried\": %llu, \"refused\": %llu}\n",
              static_cast<unsigned long long>(tried), static_cast<unsigned long long>(refused));
  return 1;
}

std::uint16_t checksum(const void* data, std::size_t size, std::uint32_t sum) {
  const auto* words = static_cast<const std::uint16_t*>(data);
  for (std::size_t i = 0; i < size / 2; ++i) {
    sum += words[i];
  }
  while ((sum >> 16) != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

/// Sends `count` SYNs from one guest's device, ports counting up, and says what each cost. All
/// work up to the listener is done in the sender's own system call (veth hands the packet over),
/// so the sender's time is the path's cost.
int syn(const Options& options) {
  const auto guests = guests_of(options);
  guests.front()->enter();
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  ifreq request{};
  options.device.copy(request.ifr_name, IFNAMSIZ - 1);
  if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request) != 0) {
    die("packet socket on " + options.device);
  }
  struct [[gnu::packed]] Frame {
    ether_header ether;
    iphdr ip;
    tcphdr tcp;
  } frame{};
  std::memcpy(frame.ether.ether_shost, request.ifr_hwaddr.sa_data, 6);
  unsigned mac[6];
  if (std::sscanf(options.destination_mac.c_str(), "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2],
                  &mac[3], &mac[4], &mac[5]) != 6) {
    throw std::runtime_error("not a MAC address: " + options.destination_mac);
  }
  for (std::size_t i = 0; i < 6; ++i) {
    frame.ether.ether_dhost[i] = static_cast<std::uint8_t>(mac[i]);
  }
  frame.ether.ether_type = htons(ETHERTYPE_IP);
  frame.ip.version = 4;
  frame.ip.ihl = 5;
  frame.ip.ttl = 64;
  frame.ip.protocol = IPPROTO_TCP;
  frame.ip.tot_len = htons(sizeof(iphdr) + sizeof(tcphdr));
  frame.ip.saddr = inet_addr(options.source_address.c_str());
  frame.ip.daddr = inet_addr(options.address.c_str());
  const iphdr header = frame.ip;
  frame.ip.check = checksum(&header, sizeof(header), 0);
  frame.tcp.doff = 5;
  frame.tcp.syn = 1;
  frame.tcp.window = htons(64240);
  frame.tcp.dest = htons(options.port);
  std::uint32_t pseudo = htons(IPPROTO_TCP) + htons(sizeof(tcphdr));
  for (const std::uint32_t address : {frame.ip.saddr, frame.ip.daddr}) {
    pseudo += (address & 0xffff) + (address >> 16);
  }
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(if_nametoindex(options.device.c_str()));
  to.sll_halen = 6;
  constexpr unsigned kBatch = 32;
  std::array<Frame, kBatch> frames;
  std::array<iovec, kBatch> vectors;
  std::array<mmsghdr, kBatch> messages{};
  for (unsigned i = 0; i < kBatch; ++i) {
    vectors[i] = {&frames[i], sizeof(Frame)};
    messages[i].msg_hdr = {&to, sizeof(to), &vectors[i], 1, nullptr, 0, 0};
  }
  std::uint64_t failures = 0;
  const Nanoseconds begin = now(), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
  const Nanoseconds limit = begin + static_cast<Nanoseconds>(options.timeout * 1e9);
  std::uint32_t number = 0;
  for (; number < options.count && now() < limit;) {
    for (auto& each : frames) {
      each = frame;
      each.tcp.source = htons(static_cast<std::uint16_t>(1024 + number % 60000));
      each.tcp.seq = htonl(number * 64123U);
      const tcphdr tcp = each.tcp;
      each.tcp.check = checksum(&tcp, sizeof(tcp), pseudo);
      ++number;
    }
    const int sent = sendmmsg(fd, messages.data(), kBatch, 0);
    if (sent != static_cast<int>(kBatch)) {
      ++failures;
    }
  }
  const Nanoseconds wall = now() - begin;
  const Nanoseconds spent = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  std::printf("{\"sent\": %u, \"short_batches\": %llu, \"ns_wall\": %.1f, \"ns_cpu\": %.1f}\n",
              number, static_cast<unsigned long long>(failures), static_cast<double>(wall) / number,
              static_cast<double>(spent) / number);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const rlimit files{1 << 20, 1 << 20};
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
    const rlimit fewer{65536, 65536};
    setrlimit(RLIMIT_NOFILE, &fewer);
  }
  Options options;
  CLI::App app("Load for metatap's benchmarks, from inside guests' namespaces");
  app.require_subcommand(1);
  app.add_option("--guest", options.guests, "network namespace of a guest (repeatable)");
  app.add_option("--guests-file", options.guests_file, "one namespace a line");
  app.add_option("--address", options.address);
  app.add_option("--port", options.port);
  app.add_option("--path", options.path);
  app.add_option("--threads", options.threads);
  app.add_option("--timeout", options.timeout, "seconds");
  app.fallthrough();
  auto* load_command = app.add_subcommand("load", "requests for a while");
  load_command->add_option("--clients", options.clients, "in all, spread over the guests");
  load_command->add_option("--seconds", options.seconds);
  load_command->add_flag("--keep-alive", options.keep_alive);
  load_command->add_option("--source-port", options.source_port, "first of the fixed source ports");
  auto* storm_command = app.add_subcommand("storm", "every guest boots at the same moment");
  storm_command->add_flag("--once", options.once, "one request for --path instead of a whole boot");
  auto* first_command = app.add_subcommand("first", "when does the first answer come");
  first_command->add_option("--interval-us", options.interval_us);
  auto* syn_command = app.add_subcommand("syn", "what a SYN costs on its way");
  syn_command->add_option("--device", options.device);
  syn_command->add_option("--source", options.source_address)->required();
  syn_command->add_option("--destination-mac", options.destination_mac)->required();
  syn_command->add_option("--count", options.count);
  CLI11_PARSE(app, argc, argv);
  try {
    if (*load_command || *storm_command) {
      return load(options, static_cast<bool>(*storm_command));
    }
    return *first_command ? first(options) : syn(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "loadgen: %s\n", e.what());
    return 1;
  }
}
