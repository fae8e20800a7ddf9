// SPDX-License-Identifier: Apache-2.0
#include "importer/questions.hpp"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <unordered_map>

#include "base/ascii.hpp"
#include "base/json_text.hpp"
#include "base/text.hpp"
#include "openstack/answers.hpp"

namespace metatap::importer {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kTries = 4;
constexpr std::chrono::seconds kLongestPause{60};
constexpr auto kBetweenProgress = 2s;
/// Nova gives no more in one page by default, and a page of user data has to fit into memory.
constexpr auto kPageSize = "1000";

std::string header(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (iequals(key, name)) {
      return value;
    }
  }
  return "";
}

bool busy(unsigned status) {
  return status == 429 || status >= 500;
}

/// How long to leave it alone: Retry-After in seconds, or 0.5, 1, 2 … s.
std::chrono::milliseconds pause_after(const Response& response, int tries) {
  const auto text = header(response, "Retry-After");
  unsigned seconds = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (!text.empty() && read.ec == std::errc() && read.ptr == text.data() + text.size()) {
    return std::min<std::chrono::milliseconds>(std::chrono::seconds(seconds), kLongestPause);
  }
  return 500ms * (1U << static_cast<unsigned>(tries));
}

/// What the service says of its refusal: {"forbidden": {"message": …}}, {"NeutronError": {…}}.
std::string message_in(const std::string& body) {
  constexpr std::size_t kLongest = 200;
  const auto answer = json_object(body);
  if (!answer || answer->empty()) {
    return "";
  }
  auto text = text_of(answer->front(), "message");
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
  if (text.size() > kLongest) {
    text.resize(kLongest);
    while (!text.empty() && !is_utf8(text)) {
      text.pop_back();
    }
    text += "…";
  }
  return text;
}

std::string why_unavailable(unsigned status) {
  switch (status) {
    case 429:
      return "is asked too often";
    case 502:
      return "gives no HTTP, or a gateway does not reach it";
    case 503:
      return "is not there, or has no time";
    case 504:
      return "does not answer in time";
    default:
      return "fails";
  }
}

std::string target_of(const Collection& collection) {
  auto target = collection.path + "?limit=" + kPageSize;
  for (const auto& [key, value] : collection.query) {
    target += "&" + percent_encoded(key) + "=" + percent_encoded(value);
  }
  return target;
}

}  // namespace

Error Questions::refusal(const Answer& answer, const std::string& what) const {
  const auto message = message_in(answer.body);
  const auto end =
      " (" + std::to_string(answer.status) + (message.empty() ? "" : ": " + message) + ")";
  switch (answer.status) {
    case 401:
    case 403:
      return {ErrorCode::denied,
              where() + " forbids " + service_.keystone().who() + " to list " + what + end};
    case 404:
      return {ErrorCode::not_found, where() + " has no " + what + end};
    default:
      return {ErrorCode::invalid, where() + " refuses to list " + what + end};
  }
}

boost::asio::awaitable<Result<Answer>> Questions::get(std::string target) {
  return patiently(std::move(target));
}

boost::asio::awaitable<Result<Answer>> Questions::version_document() {
  return patiently("");
}

boost::asio::awaitable<Result<Answer>> Questions::patiently(std::string target) {
  for (int tries = 0;; ++tries) {
    auto response = co_await once(target);
    if (response && !busy(response->status)) {
      co_return Answer{response->status, response->body.str()};
    }
    if (!response && response.error().code != ErrorCode::unavailable) {
      co_return tl::make_unexpected(std::move(response.error()));
    }
    const auto why = response ? complaint(*response) : response.error().message;
    if (tries + 1 == kTries) {
      co_return fail(ErrorCode::unavailable, why);
    }
    const auto pause = pause_after(response ? *response : Response(), tries);
    say_(why + ": asked again in " +
         std::to_string(std::chrono::ceil<std::chrono::seconds>(pause).count()) + " s");
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, pause);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
}

boost::asio::awaitable<Result<Response>> Questions::once(const std::string& target) {
  std::vector<Header> headers;
  const auto version = "compute " + microversion_;
  if (!microversion_.empty()) {
    headers.push_back({"OpenStack-API-Version", version});
    headers.push_back({"X-OpenStack-Nova-API-Version", microversion_});  // before 2.27
  }
  Result<Response> response;
  if (target.empty()) {
    response = co_await service_.version_document();
  } else {
    response = co_await service_.get(target, headers);
  }
  if (response && !began_) {
    began_ =
        openstack::read_date(header(*response, "Date")).value_or(std::chrono::system_clock::now());
  }
  co_return response;
}

std::string Questions::complaint(const Response& response) const {
  const auto message = message_in(response.body.str());
  return where() + " " + why_unavailable(response.status) + " (" + std::to_string(response.status) +
         ")" + (message.empty() ? "" : ": " + message);
}

boost::asio::awaitable<Result<std::vector<Json>>> Questions::pages(const Collection& collection,
                                                                   const Trim& trim,
                                                                   bool& began_over) {
  std::vector<Json> objects;
  std::unordered_map<std::string, std::size_t> places;  // in objects, by id
  auto told = Clock::now();
  for (auto target = target_of(collection); !target.empty();) {
    const auto answer = co_await get(target);
    if (!answer) {
      co_return tl::make_unexpected(answer.error());
    }
    if (answer->status != 200) {
      // The object that a later page begins after may have gone meanwhile.
      began_over = !objects.empty() && (answer->status == 400 || answer->status == 404);
      co_return tl::make_unexpected(refusal(*answer, collection.key));
    }
    auto page = openstack::read_page<Json>(answer->body, collection.key, where());
    if (!page) {
      co_return tl::make_unexpected(std::move(page.error()));
    }
    const auto before = objects.size();
    for (auto& object : page->items) {
      const auto id = text_of(object, "id");
      if (id.empty()) {
        co_return fail(ErrorCode::unavailable,
                       where() + " gives an object without an id among its " + collection.key);
      }
      trim(object);
      if (const auto [place, fresh] = places.try_emplace(id, objects.size()); fresh) {
        objects.push_back(std::move(object));
      } else {
        objects[place->second] = std::move(object);
      }
    }
    target = std::move(page->next);
    if (!target.empty() && (objects.size() == before || objects.size() > kMostObjects)) {
      co_return fail(ErrorCode::unavailable, where() + " has no end of " + collection.key + ": " +
                                                 std::to_string(objects.size()) +
                                                 " of them, and its pages go on");
    }
    if (Clock::now() - told > kBetweenProgress) {
      told = Clock::now();
      say_(title() + ": " + std::to_string(objects.size()) + " " + collection.key + " so far");
    }
  }
  co_return objects;
}

boost::asio::awaitable<Result<std::vector<Json>>> Questions::all(Collection collection, Trim trim) {
  for (int tries = 0;; ++tries) {
    bool began_over = false;
    auto objects = co_await pages(collection, trim, began_over);
    if (objects || !began_over || tries + 1 == kTries) {
      co_return objects;
    }
  }
}

}  // namespace metatap::importer
