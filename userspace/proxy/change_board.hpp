// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/mailbox.hpp"
#include "http/deadlines.hpp"

namespace metatap::proxy {

struct ByChangeBoard;
using CallHook =
    boost::intrusive::list_base_hook<boost::intrusive::tag<ByChangeBoard>,
                                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// Who waits on one worker for the answers of which port to change. Those who wait look for
/// themselves what has become of theirs: when something is said of their port, when they had wanted
/// to, and when the process ends. A few at a time, so that requests get their turn between them.
///
/// Used on its context's thread only, but for changed() and end().
class ChangeBoard : public std::enable_shared_from_this<ChangeBoard> {
 public:
  using Ports = std::unordered_set<std::string>;

  explicit ChangeBoard(boost::asio::io_context& context);

  /// Leaves the board when destroyed, if it has not before.
  class Waiter : http::Deadlines::Entry, public CallHook {
   public:
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

   protected:
    explicit Waiter(ChangeBoard& board) : board_(board) {}
    ~Waiter() override { leave(); }

    /// From now on something may be said of that port, whose id outlives the wait.
    void join(std::string_view port_id);
    void leave();
    /// Looks then, as http::Deadlines counts, or before.
    void look_at(std::int64_t when) { expire_at(when); }
    [[nodiscard]] bool process_ends() const { return board_.ended_; }

    /// From the context's loop.
    virtual void look() noexcept = 0;
    /// It must leave, and nothing may be asked for any more.
    virtual void give_up() noexcept = 0;

   private:
    friend class ChangeBoard;
    void expired() override { board_.call(*this); }

    ChangeBoard& board_;
    std::optional<std::unordered_multimap<std::string_view, Waiter*>::iterator> place_;
  };

  /// Any thread: of these ports answers may be others now.
  void changed(std::shared_ptr<const Ports> ports);
  /// Any thread: all look now, and from now on whoever waits is told that the process ends.
  void end();
  /// All give up, and nothing is done for anybody any more. Before the context ends.
  void close();
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] boost::asio::io_context& context() { return context_; }

 private:
  /// It is its turn as soon as may be.
  void call(Waiter& waiter);
  void serve();
  void serve_soon();

  boost::asio::io_context& context_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::unordered_multimap<std::string_view, Waiter*> waiting_;
  boost::intrusive::list<Waiter, boost::intrusive::base_hook<CallHook>,
                         boost::intrusive::constant_time_size<false>>
      called_;
  bool serving_ = false, ended_ = false;
};

}  // namespace metatap::proxy
