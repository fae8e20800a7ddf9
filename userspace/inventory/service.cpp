// SPDX-License-Identifier: Apache-2.0
#include "inventory/service.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <list>
#include <utility>
#include <vector>

#include "base/duration_text.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/mailbox.hpp"
#include "base/published.hpp"
#include "inventory/carry_out.hpp"
#include "inventory/difference.hpp"
#include "inventory/document.hpp"
#include "inventory/file_watch.hpp"
#include "inventory/handover.hpp"
#include "inventory/keeper.hpp"
#include "inventory/open_store.hpp"
#include "inventory/store_thread.hpp"
#include "inventory/ticket.hpp"
#include "inventory/write_document.hpp"

namespace metatap {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kLookAfterStore = 2s;  ///< try again to load, or note that the store is there
constexpr auto kConfirmEvery = 30s;   ///< how old the copy says to be at most while it is not
constexpr auto kFileAtStart = 60s;    ///< how long the start waits for a file to be applied
constexpr auto kFileAnswers = 3s;     ///< what a file system is given to show the file
constexpr auto kDocument = 60s;       ///< a whole document may take longer than one object
constexpr auto kToEnd = 6s;           ///< what the store's thread is given to end in

/// The revision of a store in which nothing was ever put.
constexpr std::uint64_t kNothingYet = 1;

}  // namespace

class InventoryService::Impl : public std::enable_shared_from_this<InventoryService::Impl> {
 public:
  using Work = std::function<Result<InventoryChange>(Keeper&)>;

  Impl(asio::any_io_executor control, std::unique_ptr<Store> store, InventoryOptions options)
      : control_(std::move(control)),
        options_(std::move(options)),
        mailbox_(std::make_shared<Mailbox>(control_)),
        current_(std::make_shared<const Inventory>()),
        tend_(control_) {
    const bool remote = store->remote();
    keeper_ = std::make_shared<Keeper>(
        std::move(store), remote ? options_.state_path / "inventory.snapshot" : "", options_.file);
  }

  Status start() {
    Status refused;
    const bool answered = run_within(
        options_.database_timeout + 1s, [](Keeper& keeper) { return keeper.load(); },
        [&refused](Impl& impl, Result<InventoryChange> loaded) {
          refused = impl.loaded(std::move(loaded));
        });
    if (!refused) {
      return refused;
    }
    if (!loaded_) {
      if (!answered) {
        load_error_ = "no answer within " + seconds(options_.database_timeout);
      }
      serve_copy();
    }
    keeper_->on_foreign_change([mailbox = mailbox_, self = weak_from_this()] {
      mailbox->post([self] {
        if (const auto impl = self.lock(); impl && !impl->stopped_) {
          impl->load();
        }
      });
    });
    if (options_.file) {
      if (loaded_) {
        look(file_answers() ? kFileAtStart : 0s);
      }
      file_watch_.emplace(control_, *options_.file, [this] { look(0s); });
      file_watch_->start();
    }
    if (!known()) {
      log::warn("inventory: {}; guests are answered 503 until it is known", unknown_because());
    }
    tend();
    return {};
  }

  void stop() {
    if (std::exchange(stopped_, true)) {
      return;
    }
    subscribers_.clear();
    file_watch_.reset();
    tend_.cancel();
    mailbox_->close();
    thread_.stop(kToEnd);
    for (const auto& ticket : std::exchange(tickets_, {})) {
      ticket->drop();
    }
  }

  void read_file_again() {
    if (options_.file && !stopped_) {
      run(
          [](Keeper& keeper) {
            keeper.forget_file();
            return keeper.look();
          },
          [](Impl& impl, Keeper::Look made) { impl.looked(std::move(made)); });
    }
  }

  void follow(std::string document) {
    if (!stopped_) {
      wanted_ = std::make_shared<const std::string>(std::move(document));
      follow_wanted();
    }
  }

  [[nodiscard]] const InventoryOptions& options() const { return options_; }
  [[nodiscard]] std::shared_ptr<const Inventory> current() const { return current_.get(); }
  [[nodiscard]] bool known() const { return known_.load(std::memory_order_acquire); }
  void subscribe(Subscriber subscriber) { subscribers_.push_back(std::move(subscriber)); }
  void on_known(std::function<void()> callback) { on_known_ = std::move(callback); }

  /// A change of one object, or with more time of all of them. ErrorCode::unavailable when the
  /// store has not done it in time. Who waits goes on in the very turn in which the change is
  /// published, so that he can wait for what follows from it.
  asio::awaitable<Result<Plan>> commit(Work work, std::chrono::milliseconds limit) {
    const auto ticket = std::make_shared<Ticket>(control_, limit);
    const auto place = tickets_.insert(tickets_.end(), ticket);
    run(
        [ticket, work = std::move(work)](Keeper& keeper) -> std::optional<Result<InventoryChange>> {
          return ticket->taken.exchange(true) ? std::nullopt : std::optional(work(keeper));
        },
        [ticket](Impl& impl, std::optional<Result<InventoryChange>> change) {
          if (change) {
            ticket->plan = impl.publish(*std::move(change));
            ticket->go_on();
          }
        });
    co_await ticket->wait();
    tickets_.erase(place);
    if (ticket->plan) {
      co_return *std::move(ticket->plan);
    }
    const bool begun = ticket->taken.exchange(true);
    co_return fail(
        ErrorCode::unavailable,
        fmt::format("{}: not done within {}; {}", keeper_->store().health().where, seconds(limit),
                    begun ? "it may still be stored, 'metatap status' shows what is"
                          : "nothing was changed"));
  }

  /// The same for one object, on the caller's thread.
  asio::awaitable<Status> commit_from_any_thread(Work work) {
    auto plan = co_await asio::co_spawn(control_, commit(std::move(work), one_object()),
                                        asio::use_awaitable);
    if (!plan) {
      co_return tl::make_unexpected(std::move(plan.error()));
    }
    co_return Status();
  }

  /// The same for an operator.
  asio::awaitable<Result<Plan>> edit(Work work, std::chrono::milliseconds limit) {
    if (auto status = options_.editable(); !status) {
      co_return tl::make_unexpected(std::move(status.error()));
    }
    co_return co_await commit(std::move(work), limit);
  }

  /// Something else than the store says what there is.
  [[nodiscard]] bool follows() const {
    return options_.file || options_.source == InventorySource::libvirt;
  }
  [[nodiscard]] std::chrono::milliseconds one_object() const { return options_.database_timeout; }
  [[nodiscard]] std::chrono::milliseconds whole_document() const {
    return std::max<std::chrono::milliseconds>(kDocument, options_.database_timeout);
  }

  [[nodiscard]] State state() const {
    const auto inventory = current();
    State state{.revision = inventory->revision,
                .networks = inventory->networks.size(),
                .subnets = inventory->subnets.size(),
                .routers = inventory->routers.size(),
                .ports = inventory->ports.size(),
                .instances = inventory->instances.size(),
                .store = keeper_->store().health(),
                .known = known(),
                .from_copy = !loaded_ && as_of_ != 0,
                .source = options_.file ? InventorySource::file : options_.source,
                .file = options_.file ? options_.file->string() : "",
                .source_error = source_error_,
                .source_applied_at = source_applied_at_,
                .unknown_because = known() ? "" : unknown_because()};
    if (as_of_ != 0 && !(loaded_ && state.store.reachable)) {
      state.age = std::chrono::seconds(std::max<std::int64_t>(0, seconds_now() - as_of_));
    }
    return state;
  }

 private:
  static std::string seconds(std::chrono::milliseconds time) {
    return fmt::format("{} s", std::chrono::duration<double>(time).count());
  }

  /// `work` on the store's thread, then `take` on this one with what came of it.
  template <class W, class Take>
  void run(W work, Take take) {
    thread_.run([keeper = keeper_, mailbox = mailbox_, self = weak_from_this(),
                 work = std::move(work), take = std::move(take)]() mutable {
      deliver(*mailbox, self, std::move(take), carry_out(work, *keeper));
    });
  }

  /// The same, and waits so long, so that `take` has been called when this returns true: for the
  /// start, when the control thread's loop does not run yet.
  template <class W, class Take>
  bool run_within(std::chrono::milliseconds patience, W work, Take take) {
    using Made = std::invoke_result_t<W&, Keeper&>;
    const auto handover = std::make_shared<Handover<Made>>();
    // What comes too late is a matter of this service alone: whoever waited has gone.
    thread_.run([keeper = keeper_, mailbox = mailbox_, self = weak_from_this(), handover,
                 work = std::move(work)]() mutable {
      if (auto late = handover->give(carry_out(work, *keeper))) {
        deliver(
            *mailbox, self, [](Impl& impl, Made made) { impl.late(std::move(made)); },
            *std::move(late));
      }
    });
    auto made = handover->take(patience);
    if (made) {
      take(*this, *std::move(made));
    }
    return made.has_value();
  }

  template <class Take, class Made>
  static void deliver(Mailbox& mailbox, const std::weak_ptr<Impl>& self, Take take, Made made) {
    mailbox.post([self, take = std::move(take), made = std::move(made)]() mutable {
      if (const auto impl = self.lock(); impl && !impl->stopped_) {
        take(*impl, std::move(made));
      }
    });
  }

  void late(Result<InventoryChange> made) { static_cast<void>(loaded(std::move(made))); }
  void late(Keeper::Look look) { looked(std::move(look)); }

  /// One that has not begun yet will see what this one is to see.
  void load() {
    if (!load_waits_->exchange(true)) {
      const auto work = [waits = load_waits_](Keeper& keeper) {
        waits->store(false);
        return keeper.load();
      };
      run(work, [](Impl& impl, Result<InventoryChange> made) { impl.late(std::move(made)); });
    }
  }

  /// An error: the store will not do, now or later.
  Status loaded(Result<InventoryChange> loaded) {
    if (!loaded) {
      const auto& error = loaded.error();
      if (error.message != load_error_) {
        log::warn("inventory: {}; what is known is served on", error.message);
        load_error_ = error.message;
      }
      return is_passing(error) ? Status() : tl::make_unexpected(error);
    }
    load_error_.clear();
    const bool first = !std::exchange(loaded_, true);
    const auto before = current()->revision;
    const auto plan = publish(std::move(loaded));
    if (!first && !plan->empty()) {
      log::info("inventory: revision {} came from another host", plan->revision);
    } else if (first && before != 0) {
      log::info("inventory: the database is there, revision {}", plan->revision);
    }
    if (first && file_watch_) {
      look(0s);
    }
    return {};
  }

  void serve_copy() {
    const auto copy = keeper_->remembered();
    if (!copy) {
      if (copy.error().code != ErrorCode::not_found) {
        log::error("inventory: the copy of the database's last state: {}", copy.error().message);
      }
      return;
    }
    as_of_ = copy->as_of;
    log::warn("inventory: {}; served from this host's copy, which is {} s old", load_error_,
              std::max<std::int64_t>(0, seconds_now() - as_of_));
    tell(difference(current(), copy->inventory));
  }

  Result<Plan> publish(Result<InventoryChange> stored) {
    if (!stored) {
      return tl::make_unexpected(std::move(stored.error()));
    }
    loaded_ = true;
    as_of_ = seconds_now();
    auto change = *std::move(stored);
    if (change.before != current()) {  // what somebody else has stored meanwhile is in it too
      change = difference(current(), std::move(change.after));
    }
    auto plan = plan_of(change);
    tell(change);
    return plan;
  }

  void tell(const InventoryChange& change) {
    current_.set(change.after);
    if (!change.empty()) {
      // By index: a subscriber may subscribe another.
      for (std::size_t at = 0; at < subscribers_.size(); ++at) {
        subscribers_[at](change);
      }
    }
    learn();
  }

  /// Whoever has been told of all there is knows what there is not.
  void learn() {
    if (!known() && as_of_ != 0 &&
        (!follows() || source_applied_at_ != 0 || current()->revision > kNothingYet)) {
      known_.store(true, std::memory_order_release);
      if (on_known_) {
        on_known_();
      }
    }
  }

  [[nodiscard]] std::string unknown_because() const {
    if (!load_error_.empty()) {
      return load_error_;
    }
    return source_error_.empty() ? "nothing was read yet" : source_error_;
  }

  /// Also with an error. Whose file system hangs is not waited for at the start.
  bool file_answers() {
    const auto answered = std::make_shared<Handover<bool>>();
    thread_.run([answered, file = *options_.file] {
      static_cast<void>(read_file(file));
      static_cast<void>(answered->give(true));
    });
    return answered->take(kFileAnswers).has_value();
  }

  void look(std::chrono::milliseconds patience) {
    const auto work = [](Keeper& keeper) { return keeper.look(); };
    if (patience > 0s) {
      run_within(patience, work,
                 [](Impl& impl, Keeper::Look made) { impl.looked(std::move(made)); });
    } else if (!looking_since_) {
      looking_since_ = std::chrono::steady_clock::now();
      run(work, [](Impl& impl, Keeper::Look made) {
        impl.looking_since_.reset();
        impl.looked(std::move(made));
      });
    }
  }

  /// A look that does not end is told as one that failed, until it ends.
  void tell_of_a_long_look() {
    const auto limit = options_.database_timeout + kFileAnswers;
    if (looking_since_ && std::chrono::steady_clock::now() - *looking_since_ > limit) {
      auto why = "not read and stored within " + seconds(limit) + "; does its file system answer?";
      looked({true, fail(ErrorCode::timeout, std::move(why)), std::nullopt});
    }
  }

  void looked(Keeper::Look look) {
    const auto error = look.refused ? std::string() : on_one_line(look.refused.error().message);
    const bool news = error != source_error_;
    source_error_ = error;
    if (news && !error.empty()) {
      log::error("inventory: {}: {}; what was there before is served on", options_.file->string(),
                 error);
    } else if (news && !look.changed) {
      log::info("inventory: {} is as it was before", options_.file->string());
    }
    if (!error.empty() || !look.changed) {
      return;
    }
    source_applied_at_ = seconds_now();
    const auto plan = publish(*std::move(look.change));
    learn();
    log::info("inventory: {} applied, revision {}, {} instances", options_.file->string(),
              plan->revision, current()->instances.size());
  }

  /// The last of these documents, and again (tend) until the store has it or it is refused.
  void follow_wanted() {
    following_ = true;
    run([document = wanted_](Keeper& keeper) { return keeper.replace(*document); },
        [document = wanted_](Impl& impl, Result<InventoryChange> made) {
          impl.following_ = false;
          if (impl.wanted_ == document && (made || !is_passing(made.error()))) {
            impl.wanted_.reset();
          }
          impl.followed(std::move(made));
        });
  }

  void followed(Result<InventoryChange> made) {
    const auto error = made ? std::string() : on_one_line(made.error().message);
    if (!made && error != source_error_) {
      log::error("inventory: {}; what was there before is served on", error);
    }
    source_error_ = error;
    if (made) {
      source_applied_at_ = seconds_now();
      static_cast<void>(publish(std::move(made)));
      learn();
    }
  }

  /// Every now and then: a store that was never read is asked again, one that is there confirms
  /// what is served, and a file that cannot be read for long is told of.
  void tend() {
    tend_.expires_after(kLookAfterStore);
    tend_.async_wait([self = weak_from_this()](auto cancelled) {
      const auto impl = self.lock();
      if (!impl || cancelled || impl->stopped_) {
        return;
      }
      impl->tell_of_a_long_look();
      if (impl->wanted_ && !impl->following_) {
        impl->follow_wanted();
      }
      if (!impl->loaded_) {
        impl->load();
      } else if (impl->keeper_->store().health().reachable) {
        impl->as_of_ = seconds_now();
        if (impl->as_of_ - impl->confirmed_at_ >= kConfirmEvery.count()) {
          impl->confirmed_at_ = impl->as_of_;
          impl->thread_.run([keeper = impl->keeper_] { keeper->confirm(); });
        }
      }
      impl->tend();
    });
  }

  const asio::any_io_executor control_;
  const InventoryOptions options_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<Keeper> keeper_;  ///< the store's thread's, but for store().health()
  Published<Inventory> current_;
  std::atomic<bool> known_ = false;
  std::vector<Subscriber> subscribers_;
  std::function<void()> on_known_;
  bool stopped_ = false;

  std::list<std::shared_ptr<Ticket>> tickets_;  ///< of those who wait for the store
  bool loaded_ = false;                         ///< the store has been read
  std::shared_ptr<std::atomic<bool>> load_waits_ = std::make_shared<std::atomic<bool>>(false);
  bool following_ = false;
  std::optional<std::chrono::steady_clock::time_point> looking_since_;
  std::int64_t as_of_ = 0;  ///< when what is served was last known to be the store's; 0: never
  std::int64_t confirmed_at_ = 0;
  std::string load_error_;
  asio::steady_timer tend_;

  std::optional<FileWatch> file_watch_;
  std::shared_ptr<const std::string> wanted_;  ///< a document to follow; null: it is done
  std::string source_error_;
  std::int64_t source_applied_at_ = 0;

  StoreThread thread_{"store"};  ///< last: what it runs ends before the rest goes
};

InventoryService::InventoryService(asio::any_io_executor control, std::unique_ptr<Store> store,
                                   InventoryOptions options)
    : impl_(std::make_shared<Impl>(std::move(control), std::move(store), std::move(options))) {}

Result<std::unique_ptr<InventoryService>> InventoryService::open(asio::any_io_executor control,
                                                                 InventoryOptions options) {
  auto store = open_store(options.database, options.state_path, options.database_timeout,
                          options.holds_part ? options.host : "");
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
void InventoryService::follow(std::string document) {
  impl_->follow(std::move(document));
}

std::shared_ptr<const Inventory> InventoryService::current() const {
  return impl_->current();
}
bool InventoryService::known() const {
  return impl_->known();
}

void InventoryService::subscribe(Subscriber subscriber) {
  impl_->subscribe(std::move(subscriber));
}
void InventoryService::on_known(std::function<void()> callback) {
  impl_->on_known(std::move(callback));
}

// Each has a name for its work: GCC 12 destroys a temporary in an awaited expression twice.

asio::awaitable<Result<Plan>> InventoryService::apply(std::string document) {
  const auto impl = impl_;  // outlives the wait, as in the others
  Impl::Work work = [document = std::move(document)](Keeper& keeper) {
    return keeper.replace(document);
  };
  co_return co_await impl->edit(std::move(work), impl->whole_document());
}

Result<std::string> InventoryService::document() const {
  return impl_->options().whole().map([this] { return write_document(*impl_->current()); });
}

Result<Plan> InventoryService::rehearse(std::string_view document) const {
  return impl_->options().whole().and_then([&] { return plan_of(document, impl_->current()); });
}

asio::awaitable<Result<Plan>> InventoryService::put(std::string document, Mode mode) {
  const auto impl = impl_;
  const auto existing = mode == Mode::add ? Existing::refuse : Existing::replace;
  Impl::Work work = [document = std::move(document), existing](Keeper& keeper) {
    return keeper.put(document, existing);
  };
  co_return co_await impl->edit(std::move(work), impl->one_object());
}

asio::awaitable<Result<Plan>> InventoryService::remove_instance(std::string uuid) {
  const auto impl = impl_;
  Impl::Work work = [uuid = std::move(uuid)](Keeper& keeper) {
    return keeper.remove_instance(uuid);
  };
  co_return co_await impl->edit(std::move(work), impl->one_object());
}

asio::awaitable<Status> InventoryService::set_password(std::string instance, std::string text) {
  const auto impl = impl_;
  Impl::Work work = [instance = std::move(instance), text = std::move(text)](Keeper& keeper) {
    return keeper.set_password(instance, text);
  };
  co_return co_await impl->commit_from_any_thread(std::move(work));
}

asio::awaitable<Status> InventoryService::clear_password(std::string instance) {
  const auto impl = impl_;
  Impl::Work work = [instance = std::move(instance)](Keeper& keeper) {
    return keeper.clear_password(instance);
  };
  co_return co_await impl->commit_from_any_thread(std::move(work));
}

InventoryService::State InventoryService::state() const {
  return impl_->state();
}

}  // namespace metatap
