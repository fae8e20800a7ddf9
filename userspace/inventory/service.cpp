// SPDX-License-Identifier: Apache-2.0
#include "inventory/service.hpp"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "base/config.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"
#include "base/published.hpp"
#include "inventory/difference.hpp"
#include "inventory/document.hpp"
#include "inventory/open_store.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {

namespace asio = boost::asio;

namespace {

/// Writers often touch a file several times in a row; wait until they have finished.
constexpr auto kSettle = std::chrono::milliseconds(50);
/// Events are hints: the file is looked at this often in any case.
constexpr auto kLookAgain = std::chrono::seconds(5);

/// What tells one version of a file from the next without reading it.
struct Version {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const Version&) const = default;

  static std::optional<Version> of(const std::filesystem::path& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
      return std::nullopt;
    }
    constexpr std::int64_t kSecond = 1'000'000'000;
    return Version{status.st_dev, status.st_ino, status.st_size,
                   status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec};
  }
};

Result<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail_errno(errno, "open " + path.string());
  }
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) {
    return fail_errno(EIO, "read " + path.string());
  }
  return text;
}

}  // namespace

class InventoryService::Impl : public std::enable_shared_from_this<InventoryService::Impl> {
 public:
  Impl(asio::any_io_executor control, std::unique_ptr<Store> store, InventoryOptions options)
      : control_(std::move(control)),
        store_(std::move(store)),
        options_(std::move(options)),
        current_(std::make_shared<const Inventory>()),
        events_(control_),
        settle_(control_),
        look_again_(control_) {}

  Status start() {
    auto loaded = store_->load();
    if (!loaded) {
      return tl::make_unexpected(std::move(loaded.error()));
    }
    publish(difference(current(), *std::move(loaded)));
    store_->on_foreign_change([self = weak_from_this(), control = control_] {
      asio::post(control, [self] {
        if (const auto impl = self.lock()) {
          impl->reload();
        }
      });
    });
    if (options_.file) {
      watch();
      look();
      look_later();
    }
    return {};
  }

  void stop() {
    stopped_ = true;
    subscribers_.clear();
    events_.close();
    settle_.cancel();
    look_again_.cancel();
  }

  [[nodiscard]] std::shared_ptr<const Inventory> current() const { return current_.get(); }
  void subscribe(Subscriber subscriber) { subscribers_.push_back(std::move(subscriber)); }

  Result<Plan> apply(std::string_view document, bool dry_run) {
    auto wanted = parse_document(document);
    if (!wanted) {
      return tl::make_unexpected(std::move(wanted.error()));
    }
    return dry_run ? rehearse(*std::move(wanted)) : commit(store_->replace(*wanted));
  }

  Result<Plan> put(std::string_view document, Mode mode) {
    const auto existing = mode == Mode::add ? Existing::refuse : Existing::replace;
    return edit([&](const Inventory& base) { return merge_document(base, document, existing); });
  }

  Result<Plan> remove_instance(std::string_view uuid) {
    return edit([&](const Inventory& base) -> Result<Inventory> {
      auto wanted = base;
      const auto found = wanted.instances.find(uuid);
      if (found == wanted.instances.end()) {
        return fail(ErrorCode::not_found, "there is no instance " + std::string(uuid));
      }
      const auto id = found->first;
      for (const auto& [port_id, port] : base.ports) {
        if (port->device_id == id) {
          wanted.ports.erase(port_id);
        }
      }
      wanted.instances.erase(id);
      return wanted;
    });
  }

  asio::awaitable<Status> set_password(std::string instance, std::string text) {
    co_return done(commit(store_->set_password(instance, text)));
  }
  asio::awaitable<Status> clear_password(std::string instance) {
    co_return done(commit(store_->clear_password(instance)));
  }

  [[nodiscard]] State state() const {
    const auto inventory = current();
    return {inventory->revision,
            inventory->networks.size(),
            inventory->subnets.size(),
            inventory->routers.size(),
            inventory->ports.size(),
            inventory->instances.size(),
            store_->health(),
            options_.file ? options_.file->string() : "",
            file_error_,
            file_applied_at_};
  }

  [[nodiscard]] const asio::any_io_executor& control() const { return control_; }

  void read_file_again() {
    if (options_.file) {
      looked_ = false;
      look();
    }
  }

 private:
  /// Commits what `change` makes of the present state. Should another host have changed the
  /// database meanwhile, it is made again, of that.
  template <class F>
  Result<Plan> edit(F&& change) {
    constexpr int kTries = 5;
    for (int attempt = 1;; ++attempt) {
      const auto base = current();
      auto wanted = change(*base);
      if (!wanted) {
        return tl::make_unexpected(std::move(wanted.error()));
      }
      auto stored = store_->replace(*wanted);
      if (stored || stored.error().code != ErrorCode::conflict || attempt == kTries) {
        return commit(std::move(stored));
      }
      reload();
      if (current()->revision == base->revision) {
        return commit(std::move(stored));  // the conflict is in the document itself
      }
    }
  }

  static Status done(Result<Plan> result) {
    if (!result) {
      return tl::make_unexpected(std::move(result.error()));
    }
    return {};
  }

  /// What a commit would change. Ids the store would give are not given, so an instance without
  /// them is compared as if it had those it has now.
  [[nodiscard]] Plan rehearse(Inventory wanted) const {
    const auto base = current();
    std::vector<std::shared_ptr<const Instance>> filled;
    for_each_difference(base->instances, wanted.instances,
                        [&](const std::string&, const Instance* old, const Instance* now) {
                          if (old != nullptr && now != nullptr) {
                            filled.push_back(with_kept_ids(*now, *old));
                          }
                        });
    for (auto& instance : filled) {
      wanted.instances[instance->uuid] = std::move(instance);
    }
    return plan_of(difference(base, std::make_shared<const Inventory>(std::move(wanted))));
  }

  static std::shared_ptr<const Instance> with_kept_ids(const Instance& wanted,
                                                       const Instance& old) {
    auto filled = std::make_shared<Instance>(wanted);
    const auto keep = [](auto& mine, const auto& theirs) {
      if (!mine) {
        mine = theirs;
      }
    };
    keep(filled->reservation_id, old.reservation_id);
    keep(filled->ec2_ids.instance_id, old.ec2_ids.instance_id);
    if (filled->image_ref == old.image_ref) {
      keep(filled->ec2_ids.ami_id, old.ec2_ids.ami_id);
    }
    if (filled->kernel_id == old.kernel_id) {
      keep(filled->ec2_ids.kernel_id, old.ec2_ids.kernel_id);
    }
    if (filled->ramdisk_id == old.ramdisk_id) {
      keep(filled->ec2_ids.ramdisk_id, old.ec2_ids.ramdisk_id);
    }
    for (const auto& [key, value] : old.system_metadata) {
      if (key.starts_with("password_")) {
        filled->system_metadata.insert_or_assign(key, value);
      }
    }
    return filled;
  }

  Result<Plan> commit(Result<InventoryChange> stored) {
    if (!stored) {
      return tl::make_unexpected(std::move(stored.error()));
    }
    auto change = *std::move(stored);
    if (change.before != current()) {  // what somebody else has stored meanwhile is in it too
      change = difference(current(), std::move(change.after));
    }
    publish(change);
    return plan_of(change);
  }

  void publish(const InventoryChange& change) {
    current_.set(change.after);
    if (!change.empty()) {
      // By index: a subscriber may subscribe another.
      for (std::size_t at = 0; at < subscribers_.size(); ++at) {
        subscribers_[at](change);
      }
    }
  }

  void reload() {
    if (stopped_) {
      return;
    }
    auto loaded = store_->load();
    if (!loaded) {
      log::warn("inventory: {}; what is known is served on", loaded.error().message);
      return;
    }
    const auto change = difference(current(), *std::move(loaded));
    publish(change);
    if (!change.empty()) {
      log::info("inventory: revision {} came from another host", change.after->revision);
    }
  }

  /// Applies the file if it is another than the one last looked at.
  void look() {
    const auto version = Version::of(*options_.file);
    if (version == seen_ && looked_) {
      return;
    }
    looked_ = true;
    seen_ = version;
    const auto text = read_file(*options_.file);
    const auto result =
        text ? apply(*text, false) : Result<Plan>(tl::make_unexpected(text.error()));
    if (!result) {
      file_error_ = result.error().message;
      log::error("inventory: {}: {}; what was there before is served on", options_.file->string(),
                 file_error_);
      return;
    }
    file_error_.clear();
    file_applied_at_ = std::chrono::duration_cast<std::chrono::seconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count();
    log::info("inventory: {} applied, revision {}, {} instances", options_.file->string(),
              result->revision, current()->instances.size());
  }

  /// Watches the directory, because editors and config management replace the file, they do not
  /// write it. Without inotify the timer alone does the work, later.
  void watch() {
    UniqueFd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    auto directory = options_.file->parent_path();
    if (directory.empty()) {
      directory = ".";
    }
    constexpr auto kEvents = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ATTRIB;
    if (!fd || ::inotify_add_watch(fd.get(), directory.c_str(), kEvents) < 0) {
      log::warn("inventory: cannot watch {}: {}; it is looked at every {} s", directory.string(),
                std::generic_category().message(errno), kLookAgain.count());
      return;
    }
    events_.assign(fd.release());
    wait_for_event();
  }

  void wait_for_event() {
    events_.async_read_some(
        asio::buffer(event_), [self = weak_from_this()](auto error, std::size_t) {
          const auto impl = self.lock();
          if (!impl || error) {
            return;
          }
          if (!std::exchange(impl->settling_, true)) {
            impl->settle_.expires_after(kSettle);
            impl->settle_.async_wait([self](auto cancelled) {
              if (const auto again = self.lock(); again && !cancelled && !again->stopped_) {
                again->settling_ = false;
                again->look();
              }
            });
          }
          impl->wait_for_event();
        });
  }

  void look_later() {
    look_again_.expires_after(kLookAgain);
    look_again_.async_wait([self = weak_from_this()](auto cancelled) {
      if (const auto impl = self.lock(); impl && !cancelled && !impl->stopped_) {
        impl->look();
        impl->look_later();
      }
    });
  }

  asio::any_io_executor control_;
  std::unique_ptr<Store> store_;
  InventoryOptions options_;
  Published<Inventory> current_;
  std::vector<Subscriber> subscribers_;
  bool stopped_ = false;

  asio::posix::stream_descriptor events_;
  asio::steady_timer settle_, look_again_;
  std::array<char, 4096> event_{};
  bool settling_ = false, looked_ = false;
  std::optional<Version> seen_;
  std::string file_error_;
  std::int64_t file_applied_at_ = 0;
};

Result<InventoryOptions> InventoryOptions::from(const Config& config) {
  InventoryOptions options;
  OptionReader read(config);
  read.text(
      {"database", "connection",
       "URL of the database, sqlite:///PATH or postgresql://…; empty: metatap.db in state_path"},
      options.connection);
  read.text({"DEFAULT", "state_path", "Where state is kept over restarts"}, options.state_path);
  read.text({"inventory", "file", "The document to apply at start and whenever it changes"},
            options.file);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

InventoryService::InventoryService(asio::any_io_executor control, std::unique_ptr<Store> store,
                                   InventoryOptions options)
    : impl_(std::make_shared<Impl>(std::move(control), std::move(store), std::move(options))) {}

Result<std::unique_ptr<InventoryService>> InventoryService::open(asio::any_io_executor control,
                                                                 InventoryOptions options) {
  auto store = open_store(options.connection, options.state_path);
  if (!store) {
    return tl::make_unexpected(std::move(store.error()));
  }
  return std::make_unique<InventoryService>(std::move(control), *std::move(store),
                                            std::move(options));
}

InventoryService::~InventoryService() {
  impl_->stop();
}

Status InventoryService::start() {
  return impl_->start();
}
void InventoryService::stop() {
  impl_->stop();
}

void InventoryService::read_file_again() {
  impl_->read_file_again();
}

std::shared_ptr<const Inventory> InventoryService::current() const {
  return impl_->current();
}

void InventoryService::subscribe(Subscriber subscriber) {
  impl_->subscribe(std::move(subscriber));
}

Result<Plan> InventoryService::apply(std::string_view document, bool dry_run) {
  return impl_->apply(document, dry_run);
}

Result<Plan> InventoryService::put(std::string_view document, Mode mode) {
  return impl_->put(document, mode);
}

Result<Plan> InventoryService::remove_instance(std::string_view uuid) {
  return impl_->remove_instance(uuid);
}

asio::awaitable<Status> InventoryService::set_password(std::string instance, std::string text) {
  const auto impl = impl_;  // outlives the wait
  co_return co_await asio::co_spawn(impl->control(),
                                    impl->set_password(std::move(instance), std::move(text)),
                                    asio::use_awaitable);
}

asio::awaitable<Status> InventoryService::clear_password(std::string instance) {
  const auto impl = impl_;
  co_return co_await asio::co_spawn(impl->control(), impl->clear_password(std::move(instance)),
                                    asio::use_awaitable);
}

InventoryService::State InventoryService::state() const {
  return impl_->state();
}

}  // namespace metatap
