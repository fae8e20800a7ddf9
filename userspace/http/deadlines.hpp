// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>
#include <chrono>

namespace metatap::http {

/// Coarse deadlines for everything that waits on one io_context. Setting one is a store: no timer
/// is armed, nothing is allocated. One timer per context looks through them four times a second,
/// and only while there are any; a deadline fires at most kTick late.
///
/// A service of the context; used on its thread only.
class Deadlines : public boost::asio::execution_context::service {
 public:
  using key_type = Deadlines;
  static boost::asio::execution_context::id id;
  static constexpr std::chrono::milliseconds kTick{250};

  explicit Deadlines(boost::asio::execution_context& context);
  static Deadlines& of(boost::asio::execution_context& context) {
    return boost::asio::use_service<Deadlines>(context);
  }

  /// Milliseconds of the kernel's coarse monotonic clock (resolution: one jiffy).
  static std::int64_t now();

  /// Something with a deadline. Leaves the list when destroyed.
  class Entry : public boost::intrusive::list_base_hook<
                    boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
   public:
    Entry() = default;
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    virtual ~Entry() = default;

    void expire_after(std::chrono::milliseconds delay) { at_ = now() + delay.count(); }
    void expire_at(std::int64_t at) { at_ = at; }
    void never_expire() { at_ = kNever; }

   protected:
    /// Called once per deadline. It must only request cancellation: no entry may be destroyed
    /// and no coroutine resumed from here.
    virtual void expired() = 0;

   private:
    friend class Deadlines;
    static constexpr std::int64_t kNever = INT64_MAX;
    std::int64_t at_ = kNever;
  };

  void add(Entry& entry);

 private:
  void shutdown() override;
  void arm();
  void tick();

  boost::intrusive::list<Entry, boost::intrusive::constant_time_size<false>> entries_;
  boost::asio::steady_timer timer_;
  bool armed_ = false;
};

}  // namespace metatap::http
