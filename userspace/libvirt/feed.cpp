// SPDX-License-Identifier: Apache-2.0
#include "libvirt/feed.hpp"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "base/mailbox.hpp"
#include "libvirt/guest_book.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::libvirt {
namespace {

using namespace std::chrono_literals;

constexpr int kNever = -1, kNow = 0;  // of a timeout of libvirt's loop
/// Before the next connection is tried. Short at most: a guest that starts with libvirtd asks soon.
constexpr auto kFirstPause = 500ms, kLongestPause = 5'000ms;
/// A libvirtd that is silent for three times that long is gone.
constexpr int kKeepAliveSeconds = 5;
constexpr unsigned kKeepAliveCount = 3;
constexpr auto kToEnd = 1s;  ///< what the thread is given to end in

struct CloseConnection {
  void operator()(virConnect* connection) const { virConnectClose(connection); }
};
struct FreeDomain {
  void operator()(virDomain* domain) const { virDomainFree(domain); }
};
using Connection = std::unique_ptr<virConnect, CloseConnection>;
using DomainPtr = std::unique_ptr<virDomain, FreeDomain>;

std::string last_error() {
  const auto* error = virGetLastError();
  return error != nullptr && error->message != nullptr ? error->message : "unknown";
}

std::string uuid_of(virDomain* domain) {
  std::array<char, VIR_UUID_STRING_BUFLEN> text{};
  return virDomainGetUUIDString(domain, text.data()) == 0 ? text.data() : "";
}

}  // namespace

class LibvirtFeed::Impl : public std::enable_shared_from_this<LibvirtFeed::Impl> {
 public:
  Impl(boost::asio::any_io_executor executor, LibvirtOptions options, const Inventory& former,
       Publish publish)
      : options_(std::move(options)),
        mailbox_(std::make_shared<Mailbox>(std::move(executor))),
        publish_(std::make_shared<Publish>(std::move(publish))),
        book_(options_.guests, former) {
    health_.uri = options_.uri;
  }
  ~Impl() {
    virEventRemoveTimeout(work_timer_);
    virEventRemoveTimeout(connect_timer_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status start() {
    static std::once_flag registered;
    std::call_once(registered, [] {
      virEventRegisterDefaultImpl();
      virSetErrorFunc(nullptr, [](void*, virError*) {});  // errors are returned and told by us
    });
    work_timer_ = virEventAddTimeout(
        kNever, [](int, void* self) { static_cast<Impl*>(self)->work(); }, this, nullptr);
    connect_timer_ = virEventAddTimeout(
        kNow, [](int, void* self) { static_cast<Impl*>(self)->connect(); }, this, nullptr);
    if (work_timer_ < 0 || connect_timer_ < 0) {
      return fail(ErrorCode::internal, "libvirt's event loop: " + last_error());
    }
    // It has what it uses for as long as it runs.
    thread_ = std::thread([self = shared_from_this()] {
      self->run();
      self->ended_.set_value();
    });
    return {};
  }

  void stop() {
    mailbox_->close();
    stopping_ = true;
    virEventUpdateTimeout(work_timer_, kNow);
    if (ended_.get_future().wait_for(kToEnd) == std::future_status::ready) {
      thread_.join();
    } else {
      log::warn("libvirt: {} does not answer, and is not waited for", options_.uri);
      thread_.detach();
    }
  }

  [[nodiscard]] Health health() const {
    const std::lock_guard lock(mutex_);
    return health_;
  }
  void look_again() {
    list_ = true;
    look_at_directories();
  }

 private:
  // ---- on the thread ----

  void run() {
    open_inotify();
    while (!stopping_) {
      if (virEventRunDefaultImpl() < 0) {
        log::error("libvirt: the event loop has failed: {}; guests are followed no longer",
                   last_error());
        note([&](Health& health) {
          health.connected = false;
          health.error = "the event loop has failed";
        });
        break;
      }
    }
    disconnect();
    if (watch_ >= 0) {
      virEventRemoveHandle(watch_);
    }
  }

  template <class F>
  void note(F&& change) {
    const std::lock_guard lock(mutex_);
    change(health_);
  }

  void connect() {
    virEventUpdateTimeout(connect_timer_, kNever);
    if (stopping_) {
      return;
    }
    disconnect();
    // What it may is enough, and its socket is everybody's.
    connection_.reset(virConnectOpenReadOnly(options_.uri.c_str()));
    if (!connection_ || !subscribe() || !list_domains()) {
      connect_later(last_error());
      return;
    }
    pause_ = kFirstPause;
    log::info("libvirt: {} is there", options_.uri);
    note([](Health& health) {
      health.connected = true;
      health.error.clear();
      ++health.connections;
    });
    work();
  }

  void connect_later(const std::string& because) {
    if (health().error != because) {
      log::warn("libvirt: {}: {}; what is known is served on", options_.uri, because);
    }
    note([&](Health& health) { health.error = because; });
    disconnect();
    virEventUpdateTimeout(connect_timer_, static_cast<int>(pause_.count()));
    pause_ = std::min<std::chrono::milliseconds>(2 * pause_, kLongestPause);
  }

  bool subscribe() {
    static_cast<void>(
        virConnectSetKeepAlive(connection_.get(), kKeepAliveSeconds, kKeepAliveCount));
    virConnectRegisterCloseCallback(connection_.get(), on_close, this, nullptr);
    const auto changed = [](virConnect*, virDomain* domain, void* self) {
      static_cast<Impl*>(self)->changed(domain);
    };
    using Lifecycle = int (*)(virConnect*, virDomain*, int, int, void*);
    using Device = void (*)(virConnect*, virDomain*, const char*, void*);
    using Metadata = void (*)(virConnect*, virDomain*, int, const char*, void*);
    static const auto on_change = changed;
    const Lifecycle lifecycle = [](virConnect* connection, virDomain* domain, int, int,
                                   void* self) {
      on_change(connection, domain, self);
      return 0;
    };
    const Device device = [](virConnect* connection, virDomain* domain, const char*, void* self) {
      on_change(connection, domain, self);
    };
    const Metadata metadata = [](virConnect* connection, virDomain* domain, int, const char*,
                                 void* self) { on_change(connection, domain, self); };
    const auto ask = [&](int event, auto callback) {
      const int number = virConnectDomainEventRegisterAny(
          connection_.get(), nullptr, event, VIR_DOMAIN_EVENT_CALLBACK(callback), this, nullptr);
      if (number >= 0) {
        subscriptions_.push_back(number);
      }
      return number >= 0;
    };
    // The rest is about what not every driver has.
    static_cast<void>(ask(VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device));
    static_cast<void>(ask(VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device));
    static_cast<void>(ask(VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, metadata));
    return ask(VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle);
  }

  /// Each subscription keeps the connection open, and is told of events with the next one's loop.
  void disconnect() {
    for (const int number : std::exchange(subscriptions_, {})) {
      virConnectDomainEventDeregisterAny(connection_.get(), number);
    }
    if (connection_) {
      virConnectUnregisterCloseCallback(connection_.get(), on_close);
    }
    connection_.reset();
    note([](Health& health) { health.connected = false; });
  }

  static void on_close(virConnect*, int, void* self) { static_cast<Impl*>(self)->lost(); }
  void lost() {
    log::warn("libvirt: {} has gone; what is known is served on", options_.uri);
    note([](Health& health) {
      health.connected = false;
      health.error = "it has gone";
    });
    virEventUpdateTimeout(connect_timer_, kNow);
  }

  /// In the midst of libvirt's own work: looked at when that is done, several at once.
  void changed(virDomain* domain) {
    changed_.insert(uuid_of(domain));
    note([](Health& health) { ++health.events; });
    virEventUpdateTimeout(work_timer_, kNow);
  }

  void work() {
    virEventUpdateTimeout(work_timer_, kNever);
    if (stopping_) {
      return;
    }
    if (connection_ && list_ && !list_domains()) {
      connect_later(last_error());
    }
    for (const auto& uuid : std::exchange(changed_, {})) {
      if (connection_ && !look_at(uuid)) {
        connect_later(last_error());
      }
    }
    read_directories();
    if (known_) {  // else who is not listed yet would be gone
      publish();
    }
  }

  /// False, as of the next two: libvirtd has not answered as it should, and virGetLastError() says
  /// how.
  bool list_domains() {
    list_ = false;
    virDomain** found = nullptr;
    const int count =
        virConnectListAllDomains(connection_.get(), &found, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (count < 0) {
      return false;
    }
    const std::vector<DomainPtr> domains(found, found + count);
    std::free(found);
    std::set<std::string, std::less<>> running;
    for (const auto& domain : domains) {
      const auto uuid = uuid_of(domain.get());
      running.insert(uuid);
      if (!put(uuid, domain.get())) {
        return false;
      }
    }
    book_.keep_only(running);
    known_ = true;
    return true;
  }

  bool look_at(const std::string& uuid) {
    const DomainPtr domain(virDomainLookupByUUIDString(connection_.get(), uuid.c_str()));
    return put(uuid, domain.get());
  }

  /// `domain` null: it was not found, or not looked for with success.
  bool put(const std::string& uuid, virDomain* domain) {
    const int active = domain == nullptr ? -1 : virDomainIsActive(domain);
    char* xml = active == 1 ? virDomainGetXMLDesc(domain, 0) : nullptr;
    if (xml != nullptr) {
      book_.put(uuid, xml);
      std::free(xml);
      return true;
    }
    const bool gone = active == 0 || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN;
    if (gone) {
      book_.remove(uuid);
    }
    return gone;
  }

  void publish() {
    auto document = book_.document();
    const auto& status = book_.status();
    for (const auto& [domain, problem] : status.problems) {
      if (told_[domain] != problem) {
        log::warn("libvirt: {}: {}", domain, problem);
      }
    }
    told_ = status.problems;
    note([&](Health& health) {
      health.domains = status.domains;
      health.interfaces = status.interfaces;
      health.problems = status.problems;
      health.silent_on_openstack = status.silent_on_openstack;
    });
    if (document != published_) {
      published_ = document;
      mailbox_->post([publish = publish_, document = std::move(document)]() mutable {
        (*publish)(std::move(document));
      });
    }
  }

  /// Watched before they are read, so that nothing is written in between unseen.
  void read_directories() {
    const bool changed = directories_changed_.exchange(false);
    if (watch_directories() || changed) {
      book_.read_directories();
    }
  }

  void look_at_directories() {
    directories_changed_ = true;
    virEventUpdateTimeout(work_timer_, kNow);
  }

  void open_inotify() {
    inotify_ = UniqueFd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!inotify_) {
      log::warn("libvirt: the guests' directories are read at a reload only: {}",
                errno_error(errno, "inotify").message);
      return;
    }
    watch_ = virEventAddHandle(
        inotify_.get(), VIR_EVENT_HANDLE_READABLE,
        [](int, int fd, int, void* self) {
          std::array<char, 4096> events{};
          while (::read(fd, events.data(), events.size()) > 0) {
          }
          static_cast<Impl*>(self)->look_at_directories();
        },
        this, nullptr);
  }

  /// A directory that is not there yet shows in the one above it. True: some are new.
  bool watch_directories() {
    constexpr auto kEvents =
        IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB;
    std::set<int> watched;
    for (const auto& directory : book_.directories()) {
      if (const int number = ::inotify_add_watch(inotify_.get(), directory.c_str(), kEvents);
          number >= 0) {
        watched.insert(number);
      }
    }
    for (const int number : watched_) {
      if (!watched.contains(number)) {
        static_cast<void>(::inotify_rm_watch(inotify_.get(), number));
      }
    }
    std::swap(watched_, watched);
    return !std::ranges::includes(watched, watched_);
  }

  const LibvirtOptions options_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<Publish> publish_;
  std::atomic<bool> stopping_ = false, directories_changed_ = false;
  std::atomic<bool> list_ = false;  ///< all domains are to be listed
  mutable std::mutex mutex_;
  Health health_;  ///< under mutex_
  int work_timer_ = -1, connect_timer_ = -1;

  // The thread's.
  GuestBook book_;
  Connection connection_;
  std::vector<int> subscriptions_;  ///< of the connection: libvirt's numbers of them
  std::chrono::milliseconds pause_ = kFirstPause;
  bool known_ = false;  ///< all domains have been listed, once
  std::set<std::string> changed_;
  std::string published_;
  std::map<std::string, std::string> told_;
  UniqueFd inotify_;
  int watch_ = -1;
  std::set<int> watched_;  ///< inotify's numbers of directories; a directory's is never used again
  std::thread thread_;
  std::promise<void> ended_;
};

LibvirtFeed::LibvirtFeed(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
LibvirtFeed::~LibvirtFeed() {
  impl_->stop();
}

Result<std::unique_ptr<LibvirtFeed>> LibvirtFeed::start(boost::asio::any_io_executor executor,
                                                        LibvirtOptions options,
                                                        const Inventory& former, Publish publish) {
  auto impl =
      std::make_shared<Impl>(std::move(executor), std::move(options), former, std::move(publish));
  if (auto started = impl->start(); !started) {
    return tl::make_unexpected(std::move(started.error()));
  }
  return std::unique_ptr<LibvirtFeed>(new LibvirtFeed(std::move(impl)));
}

LibvirtFeed::Health LibvirtFeed::health() const {
  return impl_->health();
}
void LibvirtFeed::look_again() {
  impl_->look_again();
}

}  // namespace metatap::libvirt
