// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "admin/registry.hpp"
#include "apps/orphan.hpp"
#include "channel/link.hpp"
#include "dataplane/callers.hpp"
#include "metatap/model.hpp"
#include "metatap/view.hpp"
#include "proxy/stage.hpp"

namespace metatap::apps {

/// The worker's view of the process that has the rights: tells it which ports there are, takes the
/// listeners that come of it, and asks it what the data plane looks like. Control thread.
class ToSupervisor {
 public:
  /// What becomes of the worker is not decided here. Drain, expose and lost are called at most
  /// once.
  struct Orders {
    /// Until doors close, and for what runs then.
    std::function<void(std::chrono::milliseconds, std::chrono::milliseconds)> drain;
    /// A socket on which to show metrics, health and the status page, and its name.
    std::function<void(UniqueFd, std::string)> expose;
    std::function<void(Error)> lost;                ///< nobody is at the other end any more
    std::function<void(channel::Packets)> packets;  ///< while somebody looks on; may be null
  };

  ToSupervisor(boost::asio::io_context& control, channel::Socket socket, Orders orders);

  /// The data plane follows these ports from now on.
  void tell(const Inventory& ports);
  /// False: it is of ports, and nobody is there any more who would follow.
  [[nodiscard]] bool tell(const InventoryChange& change);
  /// The stages run. Listeners come from now on, for the proxy, which outlives this.
  void serving(proxy::ProxyStage& proxy);

  /// Nobody is at the other end: what there is for the next supervisor. Questions are answered from
  /// now on by what that means.
  [[nodiscard]] Estate release_estate();

  /// Somebody looks on for so long: packets are told of.
  void watch(std::chrono::milliseconds time);

  /// Comes back once all that was told until now is in effect, with what could not be done.
  boost::asio::awaitable<std::vector<std::string>> settled();
  /// The same, but what could not be done is left to whoever calls settled(). One at a time.
  boost::asio::awaitable<void> in_effect();
  /// A connection to a UNIX socket that the configuration names, as the supervisor may have it.
  boost::asio::awaitable<Result<UniqueFd>> connect(std::string path);
  /// @see admin::Registry::Elsewhere; null if there is no answer in ten seconds.
  boost::asio::awaitable<admin::Json> look(View view, std::string about = {});

  /// Who is who, as the listeners' resolvers have it; null before the supervisor has said.
  [[nodiscard]] dataplane::Callers* callers() const { return callers_.get(); }

  /// Whose connections there may be now.
  void each_caller(const std::function<void(const std::shared_ptr<const Origin>&)>& use) const;
  /// Process id of the supervisor, and how many workers have died before us.
  [[nodiscard]] std::int32_t supervisor() const { return welcome_.supervisor; }
  [[nodiscard]] std::uint64_t restarts() const { return welcome_.restarts; }

 private:
  struct Question {
    explicit Question(boost::asio::io_context& control) : answered(control) {}
    boost::asio::steady_timer answered;
    std::string document;
    std::vector<std::string> problems;
    UniqueFd descriptor;
  };
  Status take(channel::Frame frame);
  Status welcome(channel::Frame frame);
  Status listen(channel::Frame frame);
  void keep_beating();
  void answer(std::uint64_t number, std::string document, std::vector<std::string> problems = {},
              UniqueFd descriptor = {});
  boost::asio::awaitable<std::shared_ptr<Question>> wait_for(std::uint64_t number,
                                                             std::chrono::seconds patience);

  boost::asio::io_context& control_;
  proxy::ProxyStage* proxy_ = nullptr;
  Orders orders_;
  channel::Link link_;
  boost::asio::steady_timer beat_;
  channel::Welcome welcome_;
  std::unique_ptr<dataplane::Callers> callers_;
  Estate estate_;
  bool lost_ = false;
  std::uint64_t questions_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Question>> open_;
};

}  // namespace metatap::apps
