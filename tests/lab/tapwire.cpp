// SPDX-License-Identifier: Apache-2.0
//
// metatap-tapwire: the part of QEMU that a guest's network needs, and nothing else.
//
// A wire is a TAP device here and a TAP device in a guest's namespace, both opened as QEMU opens
// them (virtio_net header, checksum and segmentation offloads), with their frames moved from one
// file descriptor to the other, header untouched. A 64 KB segment with a partial checksum that the
// guest's stack emits so arrives on the host's tap as exactly that, as with a virtual machine.
//
// Commands come over a UNIX stream socket, one a line; each gets one line back, "ok" or
// "error: <why>":
//   add <host device> <namespace> <guest device> [queues=N] [ifindex=N] [mac=aa:…] [offload=no]
//   tag <host device> <VLAN id> <guest device> [mac=aa:…]
//   del <host device>
//   list
//   quit
// All devices are gone when the process is.

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int kVnetHeader = 12;

/// A failed step, for the one line that the client gets.
struct Failure {
  std::string what;
};

[[noreturn]] void fail(const std::string& step) {
  throw Failure{step + ": " + std::strerror(errno)};
}

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct TapOptions {
  std::string name;
  unsigned queues = 1;
  unsigned ifindex = 0;  ///< 0: the kernel's choice
  std::string mac;       ///< empty: the kernel's choice
  bool offload = true;
};

/// One fd a queue.
std::vector<Fd> open_tap(const TapOptions& options) {
  std::vector<Fd> queues;
  for (unsigned queue = 0; queue < options.queues; ++queue) {
    Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (fd.get() < 0) {
      fail("open /dev/net/tun");
    }
    ifreq request{};
    if (options.name.size() >= sizeof(request.ifr_name)) {
      throw Failure{"device name too long: " + options.name};
    }
    options.name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    unsigned flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (options.queues > 1) {
      flags |= IFF_MULTI_QUEUE;
    }
    request.ifr_flags = static_cast<short>(flags);
    if (queue == 0 && options.ifindex != 0) {
      const unsigned index = options.ifindex;
      if (::ioctl(fd.get(), TUNSETIFINDEX, &index) < 0) {
        fail("ask for ifindex " + std::to_string(index));
      }
    }
    if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) {
      fail("create " + options.name);
    }
    int header = kVnetHeader;
    if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header) < 0) {
      fail("set the header size of " + options.name);
    }
    const unsigned long offload =
        options.offload ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
    if (::ioctl(fd.get(), TUNSETOFFLOAD, offload) < 0) {
      fail("set the offloads of " + options.name);
    }
    if (queue == 0 && !options.mac.empty()) {
      std::array<unsigned, 6> bytes{};
      if (std::sscanf(options.mac.c_str(), "%x:%x:%x:%x:%x:%x", &bytes[0], &bytes[1], &bytes[2],
                      &bytes[3], &bytes[4], &bytes[5]) != 6) {
        throw Failure{"not a MAC address: " + options.mac};
      }
      request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        request.ifr_hwaddr.sa_data[i] = static_cast<char>(bytes[i]);
      }
      if (::ioctl(fd.get(), SIOCSIFHWADDR, &request) < 0) {
        fail("set the MAC address of " + options.name);
      }
    }
    queues.push_back(std::move(fd));
  }
  return queues;
}

/// Runs `work` with this thread in another network namespace, and comes back.
template <class Work>
auto in_namespace(const std::string& name, Work work) {
  const std::string path = name.find('/') == std::string::npos ? "/run/netns/" + name : name;
  const Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  const Fd there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (there.get() < 0) {
    fail("open namespace " + path);
  }
  if (::setns(there.get(), CLONE_NEWNET) < 0) {
    fail("enter namespace " + path);
  }
  struct Return {
    const Fd& home;
    ~Return() {
      if (::setns(home.get(), CLONE_NEWNET) < 0) {
        std::abort();  // anything done from here on would hit the guest
      }
    }
  } const back{home};
  return work();
}

class Epoll {
 public:
  Epoll() : fd_(::epoll_create1(EPOLL_CLOEXEC)) {}
  void add(int fd, void* tag) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = tag;
    if (::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
      fail("epoll");
    }
  }
  [[nodiscard]] int wait(epoll_event* events, int count) const {
    return ::epoll_wait(fd_.get(), events, count, -1);
  }

 private:
  Fd fd_;
};

/// Whatever becomes readable.
class Readable {
 public:
  Readable() = default;
  Readable(const Readable&) = delete;
  Readable& operator=(const Readable&) = delete;
  virtual ~Readable() = default;
  virtual void on_readable() = 0;
};

/// The virtio 1.0 network header (linux/virtio_net.h, which C++ cannot include), as QEMU sets it.
struct VnetHeader {
  std::uint8_t flags, gso_type;
  std::uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;

  /// Moves what counts from the frame's beginning, when a VLAN tag comes or goes.
  void shift(int bytes) {
    constexpr std::uint8_t kNeedsChecksum = 1;
    if ((flags & kNeedsChecksum) != 0) {
      csum_start = static_cast<std::uint16_t>(csum_start + bytes);
    }
    if (gso_type != 0) {
      hdr_len = static_cast<std::uint16_t>(hdr_len + bytes);
    }
  }
};
static_assert(sizeof(VnetHeader) == kVnetHeader);

constexpr std::size_t kMacs = 12, kTag = 4;
constexpr std::size_t kRoom = kVnetHeader + 65536 + 64;

/// One frame with its header, and room in front for a tag.
struct Frame {
  alignas(VnetHeader) std::array<char, kTag + kRoom> bytes;
  std::size_t begin = kTag, size = 0;

  bool read(int fd) {
    begin = kTag;
    const auto got = ::read(fd, bytes.data() + begin, kRoom);
    size = got > 0 ? static_cast<std::size_t>(got) : 0;
    return got > 0;
  }
  /// A device that is down refuses the frame (EIO): lost, as on a wire.
  void write(int fd) const { (void)!::write(fd, bytes.data() + begin, size); }

  /// The VLAN id, or 0.
  [[nodiscard]] unsigned tag() const {
    const auto* type = reinterpret_cast<const unsigned char*>(data()) + kMacs;
    return size >= kVnetHeader + 18 && type[0] == 0x81 && type[1] == 0
               ? (type[2] & 0x0fU) << 8 | type[3]
               : 0;
  }
  void push(unsigned vlan) {
    header()->shift(kTag);
    std::memmove(bytes.data() + begin - kTag, bytes.data() + begin, kVnetHeader + kMacs);
    begin -= kTag;
    size += kTag;
    const std::array<char, kTag> tag{'\x81', 0, static_cast<char>(vlan >> 8),
                                     static_cast<char>(vlan)};
    std::memcpy(data() + kMacs, tag.data(), kTag);
  }
  void pop() {
    header()->shift(-static_cast<int>(kTag));
    std::memmove(bytes.data() + begin + kTag, bytes.data() + begin, kVnetHeader + kMacs);
    begin += kTag;
    size -= kTag;
  }

 private:
  [[nodiscard]] const char* data() const { return bytes.data() + begin + kVnetHeader; }
  char* data() { return bytes.data() + begin + kVnetHeader; }
  VnetHeader* header() { return reinterpret_cast<VnetHeader*>(bytes.data() + begin); }
};

/// VLAN id -> fd of the guest's device for that tag.
using Tags = std::map<unsigned, int>;

/// Frames of one queue, one way.
class Lane : public Readable {
 public:
  Lane(int from, int to, const Tags* untag, unsigned tag)
      : from_(from), to_(to), untag_(untag), tag_(tag) {}
  void on_readable() override {
    static Frame frame;
    for (int budget = 0; budget < 64 && frame.read(from_); ++budget) {
      int to = to_;
      if (tag_ != 0) {
        frame.push(tag_);
      } else if (untag_ != nullptr && !untag_->empty()) {
        if (const auto found = untag_->find(frame.tag()); found != untag_->end()) {
          frame.pop();
          to = found->second;
        }
      }
      frame.write(to);
    }
  }

 private:
  int from_, to_;
  const Tags* untag_;
  unsigned tag_;
};

class Wire {
 public:
  Wire(const Epoll& epoll, const TapOptions& host, std::string space, const TapOptions& guest)
      : epoll_(epoll),
        space_(std::move(space)),
        host_(open_tap(host)),
        guest_(in_namespace(space_, [&] { return open_tap(guest); })) {
    for (std::size_t queue = 0; queue < host_.size(); ++queue) {
      connect(host_[queue].get(), guest_[queue].get(), &tags_, 0);
      connect(guest_[queue].get(), host_[queue].get(), nullptr, 0);
    }
  }

  /// A VLAN device of the guest. The tag is put on and taken off here, so that a kernel without
  /// 802.1Q devices will do; on the host's tap it looks the same.
  void tag(unsigned vlan, const TapOptions& guest) {
    auto fd = std::move(in_namespace(space_, [&] { return open_tap(guest); }).front());
    connect(fd.get(), host_.front().get(), nullptr, vlan);
    tags_[vlan] = fd.get();
    guest_.push_back(std::move(fd));
  }

 private:
  void connect(int from, int to, const Tags* untag, unsigned tag) {
    lanes_.push_back(std::make_unique<Lane>(from, to, untag, tag));
    epoll_.add(from, lanes_.back().get());
  }

  const Epoll& epoll_;
  std::string space_;
  std::vector<Fd> host_, guest_;
  Tags tags_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

class Switchboard {
 public:
  explicit Switchboard(const Epoll& epoll) : epoll_(epoll) {}

  std::string execute(const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    try {
      if (verb == "add") {
        add(words);
      } else if (verb == "tag") {
        tag(words);
      } else if (verb == "del") {
        std::string device;
        words >> device;
        if (wires_.erase(device) == 0) {
          throw Failure{"no wire on device '" + device + "'"};
        }
        changed_ = true;
      } else if (verb == "list") {
        std::string all;
        for (const auto& [device, wire] : wires_) {
          all += " " + device;
        }
        return "ok" + all;
      } else if (verb == "quit") {
        stopped_ = true;
      } else {
        throw Failure{"no such command: '" + verb + "'"};
      }
    } catch (const Failure& failure) {
      return "error: " + failure.what;
    }
    return "ok";
  }

  [[nodiscard]] bool stopped() const { return stopped_; }
  void stop() { stopped_ = true; }
  /// True once after lanes were destroyed: events already fetched may point to them.
  bool take_changed() { return std::exchange(changed_, false); }

 private:
  void add(std::istringstream& words) {
    TapOptions host, guest;
    std::string space;
    words >> host.name >> space >> guest.name;
    if (guest.name.empty()) {
      throw Failure{"add needs <host device> <namespace> <guest device>"};
    }
    options(words, host, guest);
    if (wires_.contains(host.name)) {
      throw Failure{"device '" + host.name + "' has a wire already"};
    }
    wires_.emplace(host.name, std::make_unique<Wire>(epoll_, host, space, guest));
  }

  void tag(std::istringstream& words) {
    TapOptions host, guest;
    unsigned vlan = 0;
    words >> host.name >> vlan >> guest.name;
    const auto wire = wires_.find(host.name);
    if (wire == wires_.end() || guest.name.empty() || vlan == 0 || vlan > 4094) {
      throw Failure{"tag needs <host device> <VLAN id> <guest device>, and the device a wire"};
    }
    options(words, host, guest);
    wire->second->tag(vlan, guest);
  }

  static void options(std::istringstream& words, TapOptions& host, TapOptions& guest) {
    std::string option;
    while (words >> option) {
      const auto equals = option.find('=');
      const auto key = option.substr(0, equals);
      const auto value = equals == std::string::npos ? "" : option.substr(equals + 1);
      if (key == "queues") {
        host.queues = guest.queues =
            static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 10));
      } else if (key == "ifindex") {
        host.ifindex = static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 10));
      } else if (key == "mac") {
        guest.mac = value;
      } else if (key == "offload") {
        host.offload = guest.offload = value != "no";
      } else {
        throw Failure{"no such option: " + option};
      }
    }
  }

  const Epoll& epoll_;
  std::map<std::string, std::unique_ptr<Wire>> wires_;
  bool stopped_ = false;
  bool changed_ = false;
};

class Control : public Readable {
 public:
  Control(Fd fd, Switchboard& board) : fd_(std::move(fd)), board_(board) {}
  void on_readable() override {
    std::array<char, 4096> bytes{};
    const auto size = ::read(fd_.get(), bytes.data(), bytes.size());
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
      fd_ = Fd();
      closed_ = true;
      return;
    }
    if (size > 0) {
      pending_.append(bytes.data(), static_cast<std::size_t>(size));
    }
    for (auto end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n')) {
      const auto answer = board_.execute(pending_.substr(0, end)) + "\n";
      pending_.erase(0, end + 1);
      (void)!::send(fd_.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  Fd fd_;
  Switchboard& board_;
  std::string pending_;
  bool closed_ = false;
};

class Door : public Readable {
 public:
  Door(const Epoll& epoll, const std::string& path, Switchboard& board)
      : epoll_(epoll), board_(board), fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
      throw Failure{"socket path too long: " + path};
    }
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ::unlink(path.c_str());
    ::umask(077);
    if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0 ||
        ::listen(fd_.get(), 16) < 0) {
      fail("listen on " + path);
    }
    epoll_.add(fd_.get(), this);
  }
  void on_readable() override {
    std::erase_if(clients_, [](const auto& client) { return client->closed(); });
    Fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (fd.get() >= 0) {
      clients_.push_back(std::make_unique<Control>(std::move(fd), board_));
      epoll_.add(clients_.back()->fd(), clients_.back().get());
    }
  }

 private:
  const Epoll& epoll_;
  Switchboard& board_;
  Fd fd_;
  std::vector<std::unique_ptr<Control>> clients_;
};

class Signals : public Readable {
 public:
  Signals(const Epoll& epoll, Switchboard& board) : board_(board) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    epoll.add(fd_.get(), this);
  }
  void on_readable() override { board_.stop(); }

 private:
  Switchboard& board_;
  Fd fd_;
};

int run(const std::string& path) {
  const Epoll epoll;
  Switchboard board(epoll);
  const Signals signals(epoll, board);
  const Door door(epoll, path, board);
  std::puts("ready");
  std::fflush(stdout);
  std::array<epoll_event, 64> events{};
  while (!board.stopped()) {
    const int count = epoll.wait(events.data(), static_cast<int>(events.size()));
    for (int i = 0; i < count && !board.stopped(); ++i) {
      static_cast<Readable*>(events[static_cast<std::size_t>(i)].data.ptr)->on_readable();
      if (board.take_changed()) {
        break;  // level-triggered: what was skipped is reported again
      }
    }
  }
  ::unlink(path.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: metatap-tapwire CONTROL_SOCKET\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "metatap-tapwire: %s\n", failure.what.c_str());
    return 1;
  }
}
