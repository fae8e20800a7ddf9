// SPDX-License-Identifier: Apache-2.0
#include "apps/to_supervisor.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

#include "apps/version.hpp"
#include "base/log.hpp"
#include "dataplane/learned_addresses.hpp"

namespace metatap::apps {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

constexpr auto kBeat = 5s;
constexpr auto kLookPatience = 10s;
constexpr auto kSettlePatience = 3600s;  ///< a thousand routers may be before us

/// Has `use` take the message that the frame is said to be.
template <class Message, class F>
Status with(const channel::Frame& frame, F&& use) {
  auto message = channel::message_of<Message>(frame);
  if (!message) {
    return tl::make_unexpected(std::move(message.error()));
  }
  use(*std::move(message));
  return {};
}

}  // namespace

ToSupervisor::ToSupervisor(asio::io_context& control, channel::Socket socket, Orders orders)
    : control_(control),
      orders_(std::move(orders)),
      link_(control, std::move(socket)),
      beat_(control) {
  link_.start([this](channel::Frame frame) { return take(std::move(frame)); },
              [this](Error error) {
                lost_ = true;
                orders_.lost(std::move(error));
              });
  link_.send(channel::Hello{version_of("metatap-worker")});
  keep_beating();
}

void ToSupervisor::keep_beating() {
  beat_.expires_after(kBeat);
  beat_.async_wait([this](boost::system::error_code error) {
    if (!error) {
      link_.send(channel::Beat{});
      keep_beating();
    }
  });
}

void ToSupervisor::tell(const Inventory& ports) {
  link_.send(channel::news_of(ports));
}

bool ToSupervisor::tell(const InventoryChange& change) {
  if (auto news = channel::news_of(change); !news.empty()) {
    link_.send(news);
    return !lost_;
  }
  return true;
}

void ToSupervisor::watch(std::chrono::milliseconds time) {
  link_.send(channel::Watch{static_cast<std::uint32_t>(time.count())});
}

Estate ToSupervisor::release_estate() {
  for (const auto& [number, question] : open_) {
    question->answered.cancel();
  }
  return std::move(estate_);
}

void ToSupervisor::serving(proxy::ProxyStage& proxy) {
  proxy_ = &proxy;
  link_.send(channel::Serving{});
}

Status ToSupervisor::take(channel::Frame frame) {
  switch (static_cast<channel::Type>(frame.type)) {
    case channel::Type::welcome:
      return welcome(std::move(frame));
    case channel::Type::listen:
      return listen(std::move(frame));
    case channel::Type::close:
      return with<channel::Close>(frame, [&](const auto& close) {
        estate_.listeners.erase(close.name);
        if (proxy_ != nullptr) {
          proxy_->close(close.name);
        }
      });
    case channel::Type::publish:
      return with<channel::Publish>(frame, [&](channel::Publish publish) {
        if (callers_) {
          callers_->publish(publish.place, std::move(publish.table));
        }
      });
    case channel::Type::settled:
      return with<channel::Settled>(frame, [&](channel::Settled settled) {
        answer(settled.question, {}, std::move(settled.problems));
      });
    case channel::Type::seen:
      return with<channel::Seen>(
          frame, [&](channel::Seen seen) { answer(seen.question, std::move(seen.document)); });
    case channel::Type::connected:
      return with<channel::Connected>(frame, [&](const auto& connected) {
        answer(connected.question, {}, {}, std::move(frame.descriptors[0]));
      });
    case channel::Type::not_connected:
      return with<channel::NotConnected>(frame, [&](channel::NotConnected refused) {
        answer(refused.question, std::move(refused.why));
      });
    case channel::Type::expose: {
      auto message = channel::message_of<channel::Expose>(frame);
      return message.map([&](channel::Expose& expose) {
        orders_.expose(std::move(frame.descriptors[0]), std::move(expose.name));
      });
    }
    case channel::Type::packets:
      return with<channel::Packets>(frame, [&](channel::Packets packets) {
        if (orders_.packets) {
          orders_.packets(std::move(packets));
        }
      });
    case channel::Type::drain:
      return with<channel::Drain>(frame, [&](const auto& drain) {
        estate_ = {};
        orders_.drain(std::chrono::milliseconds(drain.arrival),
                      std::chrono::milliseconds(drain.limit));
      });
    default:
      return fail(ErrorCode::invalid,
                  "the supervisor said something unknown: kind " + std::to_string(frame.type));
  }
}

Status ToSupervisor::welcome(channel::Frame frame) {
  auto message = channel::message_of<channel::Welcome>(frame);
  if (!message) {
    return tl::make_unexpected(std::move(message.error()));
  }
  auto view = dataplane::CallerView::map(frame.descriptors[0].get(), message->slots);
  if (!view) {
    return tl::make_unexpected(std::move(view.error()));
  }
  welcome_ = *message;
  estate_.door = std::move(frame.descriptors[2]);
  if (::listen(estate_.door.get(), 1) != 0) {
    return fail_errno(errno, "listen for another supervisor");
  }
  callers_ = std::make_unique<dataplane::Callers>(
      *std::move(view),
      std::make_shared<dataplane::RemoteLearnedAddresses>(std::move(frame.descriptors[1])));
  return {};
}

Status ToSupervisor::listen(channel::Frame frame) {
  auto message = channel::message_of<channel::Listen>(frame);
  if (!message) {
    return tl::make_unexpected(std::move(message.error()));
  }
  if (!callers_ || proxy_ == nullptr) {
    return fail(ErrorCode::invalid, "a listener came too early");
  }
  auto resolver = callers_->resolver(message->callers);
  estate_.listeners[message->name] =
      UniqueFd(::fcntl(frame.descriptors[0].get(), F_DUPFD_CLOEXEC, 0));
  proxy_->open({std::move(frame.descriptors[0]), std::move(message->name),
                std::move(message->callers), message->worker, message->alone},
               std::move(resolver));
  return {};
}

void ToSupervisor::each_caller(
    const std::function<void(const std::shared_ptr<const Origin>&)>& use) const {
  if (callers_) {
    callers_->each(use);
  }
}

void ToSupervisor::answer(std::uint64_t number, std::string document,
                          std::vector<std::string> problems, UniqueFd descriptor) {
  if (const auto found = open_.extract(number)) {
    found.mapped()->document = std::move(document);
    found.mapped()->problems = std::move(problems);
    found.mapped()->descriptor = std::move(descriptor);
    found.mapped()->answered.cancel();
  }
}

asio::awaitable<std::shared_ptr<ToSupervisor::Question>> ToSupervisor::wait_for(
    std::uint64_t number, std::chrono::seconds patience) {
  const auto question = std::make_shared<Question>(control_);
  open_.emplace(number, question);
  question->answered.expires_after(patience);
  co_await question->answered.async_wait(asio::as_tuple(asio::use_awaitable));
  open_.erase(number);
  co_return question;
}

asio::awaitable<std::vector<std::string>> ToSupervisor::settled() {
  const std::vector<std::string> nobody = {
      "the supervisor has gone: what concerns ports is in effect with the next one"};
  if (lost_) {
    co_return nobody;
  }
  const auto number = ++questions_;
  link_.send(channel::Settle{number});
  const auto answered = co_await wait_for(number, kSettlePatience);
  co_return lost_ ? nobody : std::move(answered->problems);
}

asio::awaitable<void> ToSupervisor::in_effect() {
  if (!lost_) {
    link_.send(channel::Settle{channel::Settle::kOnlyWhen});
    co_await wait_for(channel::Settle::kOnlyWhen, kSettlePatience);
  }
}

asio::awaitable<Result<UniqueFd>> ToSupervisor::connect(std::string path) {
  if (lost_) {
    co_return fail(ErrorCode::unavailable, "there is no supervisor");
  }
  const auto number = ++questions_;
  link_.send(channel::Connect{number, std::move(path)});
  const auto answered = co_await wait_for(number, kLookPatience);
  if (!answered->descriptor) {
    co_return fail(ErrorCode::unavailable,
                   answered->document.empty() ? "no answer" : answered->document);
  }
  co_return std::move(answered->descriptor);
}

asio::awaitable<admin::Json> ToSupervisor::look(View view, std::string about) {
  if (lost_) {
    co_return admin::Json();
  }
  const auto number = ++questions_;
  link_.send(channel::Look{number, view, std::move(about)});
  const auto answered = co_await wait_for(number, kLookPatience);
  auto json = admin::Json::parse(answered->document, nullptr, false);
  co_return json.is_discarded() ? admin::Json() : json;
}

}  // namespace metatap::apps
