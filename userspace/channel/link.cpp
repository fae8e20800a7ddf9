// SPDX-License-Identifier: Apache-2.0
#include "channel/link.hpp"

#include <fcntl.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <utility>

namespace metatap::channel {

namespace asio = boost::asio;

namespace {

constexpr int kBatch = 64;  ///< messages before the rest of the loop has its turn
/// What may wait for one that does not read: it is not well.
constexpr std::size_t kMostWaiting = std::size_t{512} << 20U;

}  // namespace

struct Link::State : std::enable_shared_from_this<Link::State> {
  struct Waiting {
    Type type{};
    std::string body;
    std::vector<UniqueFd> descriptors;
  };

  State(asio::io_context& its_loop, Socket its_socket)
      : loop(its_loop), socket(std::move(its_socket)), watch(its_loop, socket.fd()) {}
  ~State() { (void)watch.release(); }  // the socket owns it

  void wait_for_frames() {
    watch.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       if (!error && !self->ended) {
                         self->take_frames();
                       }
                     });
  }

  void take_frames() {
    const auto handle = on_frame;  // it may end the link, and so be taken away while it runs
    for (int i = 0; i < kBatch && !ended; ++i) {
      auto frame = socket.receive();
      if (!frame) {
        end(std::move(frame.error()));
        return;
      }
      if (!*frame) {
        break;
      }
      if (auto taken = handle(*std::move(*frame)); !taken) {
        end(std::move(taken.error()));
        return;
      }
    }
    if (!ended) {
      wait_for_frames();
    }
  }

  void send(Waiting one) {
    if (ended) {
      return;
    }
    waiting_bytes += one.body.size();
    waiting.push_back(std::move(one));
    if (waiting_bytes > kMostWaiting) {
      end_later({ErrorCode::unavailable, "the other process does not read what it is told"});
    } else if (waiting.size() == 1) {
      send_waiting();
    }
  }

  void send_waiting() {
    while (!waiting.empty() && !ended) {
      const auto& first = waiting.front();
      std::vector<int> descriptors;
      for (const auto& descriptor : first.descriptors) {
        descriptors.push_back(descriptor.get());
      }
      const auto sent =
          socket.send(static_cast<std::uint16_t>(first.type), first.body, descriptors);
      if (!sent) {
        end_later(sent.error());
        return;
      }
      if (!*sent) {
        watch.async_wait(asio::posix::stream_descriptor::wait_write,
                         [self = shared_from_this()](boost::system::error_code error) {
                           if (!error) {
                             self->send_waiting();
                           }
                         });
        return;
      }
      waiting_bytes -= first.body.size();
      waiting.pop_front();
    }
  }

  void end(Error why) {
    if (!std::exchange(ended, true)) {
      watch.cancel();
      waiting.clear();
      const auto tell = std::exchange(on_end, nullptr);
      on_frame = nullptr;
      if (tell) {
        tell(std::move(why));
      }
    }
  }
  /// Whoever sends does not expect to be called back.
  void end_later(Error why) {
    asio::post(loop, [self = shared_from_this(), why = std::move(why)]() mutable {
      self->end(std::move(why));
    });
  }

  asio::io_context& loop;
  Socket socket;
  asio::posix::stream_descriptor watch;
  OnFrame on_frame;
  OnEnd on_end;
  std::deque<Waiting> waiting;
  std::size_t waiting_bytes = 0;
  bool ended = false;
};

Link::Link(asio::io_context& loop, Socket socket)
    : state_(std::make_shared<State>(loop, std::move(socket))) {}

Link::~Link() {
  state_->on_end = nullptr;
  state_->end({});
}

void Link::start(OnFrame on_frame, OnEnd on_end) {
  state_->on_frame = std::move(on_frame);
  state_->on_end = std::move(on_end);
  state_->wait_for_frames();
}

void Link::send(Type type, std::string body, std::span<const int> descriptors) {
  State::Waiting one{type, std::move(body), {}};
  for (const int fd : descriptors) {
    one.descriptors.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  state_->send(std::move(one));
}

}  // namespace metatap::channel
