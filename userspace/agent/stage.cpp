// SPDX-License-Identifier: Apache-2.0
#include "agent/stage.hpp"

#include <array>
#include <utility>

#include "agent/place.hpp"
#include "base/ascii.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "http/coroutine.hpp"
#include "http/error_page.hpp"
#include "http/recycled.hpp"

namespace metatap::agent {

using http::error_page;

namespace {

/// What a shield says of an old answer.
bool tells_of_age(std::string_view name) {
  return name == "Age" || name == "Cache-Status";
}

/// What the request says of one kind. Two headers that say something are one too many, be they
/// equal: a proxy sends one.
struct Said {
  std::string_view value;
  int times = 0;

  void add(std::string_view text) {
    if (!trimmed(text).empty()) {
      take(text);
    }
  }
  /// Also when it says nothing.
  void take(std::string_view text) {
    value = trimmed(text);
    ++times;
  }
};

}  // namespace

struct AgentStage::Question {
  DirectoryQuery query;
  std::string_view forwarded_for;
};

/// The request to the API and all it points to: made anew, with nothing of the guest's but method,
/// target and body. Stays where it is.
class AgentStage::Outgoing {
 public:
  Outgoing(const Request& request, std::string_view forwarded_for, Identity identity,
           const Signer& signer)
      : identity_(std::move(identity)),
        signature_(signer.sign(identity_.instance_id)),
        headers_{Header{"X-Forwarded-For", forwarded_for},
                 Header{"X-Instance-ID", identity_.instance_id},
                 Header{"X-Tenant-ID", identity_.project_id},
                 Header{"X-Instance-ID-Signature", signature_}},
        request_{.method = request.method,
                 .target = request.target,
                 .headers = headers_,
                 .body = request.body,
                 .peer = &kOurselves} {}
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  [[nodiscard]] const Request& request() const { return request_; }
  [[nodiscard]] const Identity& identity() const { return identity_; }

 private:
  Identity identity_;
  std::string signature_;
  std::array<Header, 4> headers_;
  Request request_;
};

/// An identity that the API does not know, and how it said so.
struct AgentStage::Unknown {
  Identity identity;
  Response response;
};

/// A request to the API, and who waits for it. Owns itself once it is on its way.
class AgentStage::ApiCall final : public Continuation, public http::Recycled {
 public:
  ApiCall(AgentStage& stage, const Request& request, const Question& question, Identity identity,
          boost::asio::io_context& here, Continuation& then)
      : stage_(stage),
        request_(request),
        question_(question),
        outgoing_(request, question.forwarded_for, std::move(identity), stage.signer_),
        here_(here),
        then_(then) {}

  /// As Handler::ask() for the guest's request; may be gone when this has no response.
  static std::optional<Response> start(std::unique_ptr<ApiCall> call) {
    auto response = call->stage_.api_.ask(call->outgoing_.request(), call->here_, *call);
    if (!response) {
      static_cast<void>(call.release());
      return std::nullopt;
    }
    if (call->stage_.in_doubt(*response)) {
      call->ask_again(std::move(*response));
      return std::nullopt;
    }
    return for_guest(call->request_, std::move(*response));
  }

 private:
  void answered(Response&& response) noexcept override {
    const std::unique_ptr<ApiCall> self(this);
    if (stage_.in_doubt(response)) {
      ask_again(std::move(response));
    } else {
      then_.answered(for_guest(request_, std::move(response)));
    }
  }
  void ask_again(Response response) {
    http::answer_from(stage_.ask_directory(request_, question_,
                                           Unknown{outgoing_.identity(), std::move(response)}),
                      here_, then_);
  }

  AgentStage& stage_;
  const Request& request_;
  const Question question_;
  const Outgoing outgoing_;
  boost::asio::io_context& here_;
  Continuation& then_;
};

AgentStage::AgentStage(Directory& directory, Handler& api, Signer signer,
                       const AgentOptions& options, std::optional<PortTagKey> key)
    : directory_(directory),
      api_(api),
      signer_(std::move(signer)),
      tags_(std::move(key)),
      retry_after_(std::to_string(options.retry_after.count())) {}

Result<std::unique_ptr<AgentStage>> AgentStage::create(Directory& directory, Handler& api,
                                                       const AgentOptions& options,
                                                       std::optional<PortTagKey> key) {
  auto signer = Signer::with(options.metadata_proxy_shared_secret);
  if (!signer) {
    return tl::make_unexpected(std::move(signer.error()));
  }
  return std::unique_ptr<AgentStage>(
      new AgentStage(directory, api, std::move(*signer), options, std::move(key)));
}

tl::expected<AgentStage::Question, Response> AgentStage::read(const Request& request) const {
  Said network;
  Said router;
  Said address;
  Said port;
  Said signature;
  for (const auto& header : request.headers) {
    // One look at the length and letter spares most comparisons.
    if (header.name.size() < 15 || (header.name.front() | 0x20) != 'x') {
      continue;
    }
    if (iequals(header.name, "X-Forwarded-For")) {
      address.add(header.value);
    } else if (iequals(header.name, "X-Neutron-Network-ID") ||
               iequals(header.name, "X-OVN-Network-ID")) {
      network.add(header.value);
    } else if (iequals(header.name, "X-Neutron-Router-ID")) {
      router.add(header.value);
    } else if (iequals(header.name, kPortIdHeader)) {
      port.take(header.value);
    } else if (iequals(header.name, kPortSignatureHeader)) {
      signature.take(header.value);
    }
  }
  const DirectoryQuery query{.port_id = port.value,
                             .network_id = network.value,
                             .router_id = router.value,
                             .address = address.value};
  const bool tagged = port.times + signature.times > 0;
  if (tagged && (port.times > 1 || signature.times > 1 ||
                 !tags_.believe(query, signature.value, request.peer->in_process))) {
    return tl::make_unexpected(refused(request, tags_.refuse()));
  }
  if (network.times + router.times > 1) {
    return tl::make_unexpected(error_page(request, 404));
  }
  if (network.times + router.times + port.times == 0) {
    return tl::make_unexpected(
        error_page(request, 400, "The request names neither a network nor a router."));
  }
  if (address.times != 1 || !Locator::of_address(address.value)) {
    return tl::make_unexpected(error_page(
        request, 400, "The request must name its origin by one address in X-Forwarded-For."));
  }
  return Question{.query = query, .forwarded_for = address.value};
}

Response AgentStage::refused(const Request& request, const Error& error) const {
  if (error.code == ErrorCode::not_found) {
    return error_page(request, 404);
  }
  log::debug("agent: the directory gave no answer: {}", error.message);
  auto response = error_page(request, 503);
  response.headers.emplace_back("Retry-After", retry_after_);
  return response;
}

Response AgentStage::for_guest(const Request& request, Response from_api) {
  switch (from_api.status) {
    case 200: {
      std::erase_if(from_api.headers,
                    [](const auto& header) { return !tells_of_age(header.first); });
      from_api.close = false;
      return from_api;
    }
    case 500:
      return error_page(request, 500,
                        "Remote metadata server experienced an internal server error.");
    case 400:
    case 403:
    case 404:
    case 409:
    case 413:
    case 414:
    case 431:
    case 502:
    case 503:
    case 504: {
      auto response = error_page(request, from_api.status);
      for (auto& [name, value] : from_api.headers) {
        if (iequals(name, "Retry-After")) {
          response.headers.emplace_back("Retry-After", std::move(value));
        }
      }
      return response;
    }
    default:
      log::debug("agent: the API answered with status {}", from_api.status);
      return error_page(request, 500,
                        "An unknown error has occurred. Please try your request again.");
  }
}

bool AgentStage::in_doubt(const Response& from_api) const {
  return from_api.status == 404 && !directory_.current();
}

std::optional<Response> AgentStage::handle(const Request& request, boost::asio::io_context& here,
                                           Continuation& then) {
  const auto question = read(request);
  if (!question) {
    return question.error();
  }
  auto identity = directory_.known(question->query);
  if (identity) {
    return ApiCall::start(
        std::make_unique<ApiCall>(*this, request, *question, std::move(*identity), here, then));
  }
  if (identity.error().code != ErrorCode::unavailable) {
    return refused(request, identity.error());
  }
  http::answer_from(ask_directory(request, *question, std::nullopt), here, then);
  return std::nullopt;
}

boost::asio::awaitable<Response> AgentStage::ask_directory(const Request& request,
                                                           Question question,
                                                           std::optional<Unknown> unknown) {
  if (!unknown) {
    auto identity = co_await directory_.find(question.query, Freshness::cached);
    if (!identity) {
      co_return refused(request, identity.error());
    }
    auto response = co_await ask_api(request, question.forwarded_for, *identity);
    if (!in_doubt(response)) {
      co_return for_guest(request, std::move(response));
    }
    unknown.emplace(std::move(*identity), std::move(response));
  }
  auto fresh = co_await directory_.find(question.query, Freshness::asked);
  if (fresh && *fresh != unknown->identity) {
    unknown->response = co_await ask_api(request, question.forwarded_for, std::move(*fresh));
  }
  co_return for_guest(request, std::move(unknown->response));
}

boost::asio::awaitable<Result<AgentStage::Rehearsed>> AgentStage::rehearse(const Request& request) {
  const auto question = read(request);
  if (!question) {
    co_return fail(ErrorCode::invalid,
                   "it refuses the request with " + std::to_string(question.error().status));
  }
  auto identity = directory_.known(question->query);
  if (!identity && identity.error().code == ErrorCode::unavailable) {
    identity = co_await directory_.find(question->query, Freshness::cached);
  }
  if (!identity) {
    co_return tl::make_unexpected(std::move(identity.error()));
  }
  Rehearsed rehearsed{*identity, {}};
  const Outgoing outgoing(request, question->forwarded_for, *std::move(identity), signer_);
  for (const auto& [name, value] : outgoing.request().headers) {
    rehearsed.headers.emplace_back(name, value);
  }
  co_return rehearsed;
}

boost::asio::awaitable<Response> AgentStage::ask_api(const Request& request,
                                                     std::string_view forwarded_for,
                                                     Identity identity) {
  const Outgoing outgoing(request, forwarded_for, std::move(identity), signer_);
  co_return co_await http::co_ask(api_, outgoing.request());
}

}  // namespace metatap::agent
