// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/change_board.hpp"

namespace metatap::proxy {

/// The stages behind, for a port that has just come. Where they are other processes they may hear
/// of it a moment later than we, and would answer 404 to a guest that asks at once, as one does
/// that was held until its port came: so they are asked again for a moment, by the same request.
/// Used on that board's thread alone.
class AskAgain final : public Handler, Continuation, ChangeBoard::Waiter {
 public:
  /// Null: `origin` has not come lately. It, `next` and `board` outlive this.
  [[nodiscard]] static std::unique_ptr<AskAgain> of(const Origin& origin, Handler& next,
                                                    ChangeBoard& board);

 private:
  AskAgain(const Origin& origin, Handler& next, ChangeBoard& board, std::int64_t until)
      : Waiter(board), origin_(origin), next_(next), here_(board.context()), until_(until) {}

  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  void answered(Response&& response) noexcept override;
  void look() noexcept override;
  void give_up() noexcept override { finish(); }

  [[nodiscard]] bool is_too_early(const Response& response) const;
  void wait(Response&& response);
  void finish() noexcept;

  const Origin& origin_;
  Handler& next_;
  boost::asio::io_context& here_;
  const std::int64_t until_;  ///< as http::Deadlines counts
  const Request* request_ = nullptr;
  Continuation* then_ = nullptr;
  Response last_;
};

}  // namespace metatap::proxy
