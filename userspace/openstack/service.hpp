// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "http/upstream.hpp"
#include "metatap/exchange.hpp"
#include "metatap/result.hpp"
#include "openstack/keystone.hpp"

namespace metatap::openstack {

/// Which service, by the catalogue and by the name people know it by.
struct ServiceKind {
  std::string_view title;    ///< "Neutron"
  std::string_view type;     ///< "network"
  std::string_view version;  ///< "/v2.0": of the API's path, put behind a URL that is without
};
inline constexpr ServiceKind kNeutron{"Neutron", "network", "/v2.0"};
inline constexpr ServiceKind kNova{"Nova", "compute", "/v2.1"};

/// One service's REST API, asked with Keystone's tokens at the URL that its catalogue has.
/// Thread-safe; runs on the executor of whoever asks.
class Service {
 public:
  /// `url`: instead of the catalogue's; needed where there is no Keystone. ErrorCode::invalid: it
  /// is no URL, or a TLS file cannot be read.
  static Result<std::unique_ptr<Service>> create(std::shared_ptr<Keystone> keystone,
                                                 const ServiceKind& kind, std::string url = {});

  /// GET of a path within the API ("ports?limit=5"), or of one that begins with a slash, as links
  /// to a next page do. A token that is refused (401) is renewed once, and the question repeated.
  /// Every answer of the service is a Response, with the statuses of http::Upstream where there is
  /// none; the errors are Keystone's, and ErrorCode::invalid: no endpoint in the catalogue.
  [[nodiscard]] boost::asio::awaitable<Result<Response>> get(const std::string& target,
                                                             std::span<const Header> headers = {});
  /// The same of the API's own path, whose answer tells its version, and of Nova the microversions.
  [[nodiscard]] boost::asio::awaitable<Result<Response>> version_document();

  [[nodiscard]] const ServiceKind& kind() const { return kind_; }
  [[nodiscard]] const Keystone& keystone() const { return *keystone_; }
  /// For sentences: "Neutron at http://…", or "Neutron" as long as nobody asked.
  [[nodiscard]] std::string where() const;

 private:
  /// Its connections outlive the token, as long as the catalogue names the same endpoint.
  struct Place {
    std::string url;
    std::string path;  ///< of the API, with its version and a slash at its end
    std::string root;  ///< the path to its version, where a project's id may follow
    std::unique_ptr<http::Upstream> upstream;
  };
  using PlacePtr = std::shared_ptr<Place>;

  Service(std::shared_ptr<Keystone> keystone, const ServiceKind& kind, std::string url);
  [[nodiscard]] Result<PlacePtr> place(const Token& token);
  /// `target` null: of the API's own path.
  [[nodiscard]] boost::asio::awaitable<Result<Response>> ask(const std::string* target,
                                                             std::span<const Header> headers);

  const std::shared_ptr<Keystone> keystone_;
  const ServiceKind kind_;
  const std::string url_;
  mutable std::mutex mutex_;
  PlacePtr place_;
};

}  // namespace metatap::openstack
