// SPDX-License-Identifier: Apache-2.0
#include "importer/importer.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <memory>
#include <utility>

#include "base/scratch.hpp"
#include "importer/neutron_reader.hpp"
#include "importer/nova_reader.hpp"
#include "inventory/document.hpp"
#include "openstack/keystone.hpp"
#include "openstack/service.hpp"

namespace metatap::importer {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// Objects come and go while they are listed, so that one list may contradict another.
constexpr int kReadings = 3;
/// How long stamps and deletions alone are followed: not all that changes bears a stamp.
constexpr auto kAnew = 10min;
constexpr std::size_t kLargestAnswer = std::size_t{512} << 20U;

/// What no answer of these APIs has.
std::vector<NotTold> never_told(const Wish& wish) {
  std::vector<NotTold> all;
  if (wish.nova) {
    all = {
        {"ec2_ids",
         "EC2 ids of instances and images are in Nova's database alone: metatap gives "
         "its own, once, and keeps them"},
        {"keypairs", "the bytes of a server's key are those of its user's key of that name today"},
        {"network_info", "floating addresses (public-ipv4); the rest is derived from the ports"},
        {"block_device_mappings", "the disks' device names"},
        {"device_metadata", "tags of disks and interfaces"},
        {"numa_topology", "NUMA cells"},
        {"system_metadata", "passwords that guests have posted, and boot_roles"},
        {"vendor_data", "it is in nova.conf ([api] vendordata_…)"},
        {"personality", "files and the administrator's password, which are on config drives only"}};
  }
  if (wish.neutron) {
    all.push_back({"device", "a host's device that is not named by Neutron's rule"});
  }
  return all;
}

class Import {
 public:
  Import(const Wish& wish, const Outlet& outlet) : wish_(wish), outlet_(outlet) {}

  Status open(Credentials credentials) {
    credentials.access.timeout = 60s;
    credentials.access.largest_answer = kLargestAnswer;
    auto keystone = openstack::Keystone::create(std::move(credentials.access));
    if (!keystone) {
      return tl::make_unexpected(std::move(keystone.error()));
    }
    const std::shared_ptr<openstack::Keystone> shared = *std::move(keystone);
    const auto service = [&](const openstack::ServiceKind& kind, const std::string& url,
                             std::unique_ptr<openstack::Service>& into) -> Status {
      auto made = openstack::Service::create(shared, kind, url);
      if (!made) {
        return tl::make_unexpected(std::move(made.error()).in(kind.title));
      }
      into = *std::move(made);
      return {};
    };
    if (auto status = service(openstack::kNeutron, credentials.neutron_url, neutron_service_);
        !status) {
      return status;
    }
    if (auto status = service(openstack::kNova, credentials.nova_url, nova_service_); !status) {
      return status;
    }
    if (wish_.neutron) {
      neutron_.emplace(Questions(*neutron_service_, outlet_.say), keys_, outlet_.say);
    }
    if (wish_.nova) {
      nova_.emplace(Questions(*nova_service_, outlet_.say), wish_.own_project, keys_, outlet_.say);
    }
    return {};
  }

  /// Everything anew, until it makes an inventory.
  Status read_all() {
    Status checked;
    for (int times = 0; times < kReadings; ++times) {
      keys_.forget();
      if (auto status = await(all()); !status) {
        return status;
      }
      if (checked = compose_document(); checked) {
        return {};
      }
      outlet_.say("what was read makes no inventory, and is read again");
    }
    return checked;
  }
  Status read_changes() {
    auto status = await(changes());
    return status ? compose_document() : status;
  }

  /// False: the same as was handed over last.
  Result<bool> hand_over() {
    if (document_.text == handed_over_) {
      return false;
    }
    if (wish_.target.empty()) {
      if (!outlet_.document(document_.text)) {
        return fail(ErrorCode::internal, "nobody takes the document");
      }
    } else if (auto status = replace_file(wish_.target, document_.text); !status) {
      return tl::make_unexpected(std::move(status.error()));
    }
    handed_over_ = document_.text;
    return true;
  }

  [[nodiscard]] Imported imported() const {
    Imported made{.counts = document_.counts, .not_told = never_told(wish_)};
    const auto note = [&](std::string key, std::string why) {
      made.not_told.push_back({std::move(key), std::move(why)});
    };
    if (nova_) {
      if (const auto count = nova_->without_user_data(); count != 0) {
        note("user_data", "of " + std::to_string(count) +
                              " servers: Nova shows it to administrators, from 2.3 on");
      }
      if (const auto keys = nova_->keys_not_told(); !keys.empty()) {
        note("keypairs", std::to_string(keys.size()) + " keys of users, such as " + keys.front() +
                             ": Nova has them no more, or not for us");
      }
      if (const auto& ids = nova_->partial(); !ids.empty()) {
        note("servers", std::to_string(ids.size()) + ", such as " + *ids.begin() +
                            ": their cell does not answer");
      }
    }
    for (const auto& [key, count] : keys_.unknown()) {
      note(key, "nothing that metatap knows, in " + std::to_string(count) + " objects");
    }
    return made;
  }

 private:
  boost::asio::awaitable<Status> all() {
    Status status;
    if (neutron_) {
      status = co_await neutron_->all(tables_);
    }
    if (status && nova_) {
      status = co_await nova_->all(tables_);
    }
    co_return status;
  }
  boost::asio::awaitable<Status> changes() {
    Status status;
    if (neutron_) {
      status = co_await neutron_->changes(tables_);
    }
    if (status && nova_) {
      status = co_await nova_->changes(tables_);
    }
    co_return status;
  }

  /// ErrorCode::invalid: `metatap apply` would not take it.
  Status compose_document() {
    auto composed = compose(tables_);
    if (auto checked = parse_document(composed.text); !checked) {
      return tl::make_unexpected(std::move(checked.error()));
    }
    document_ = std::move(composed);
    return {};
  }

  Status await(boost::asio::awaitable<Status> task) {
    std::optional<Status> result;
    boost::asio::co_spawn(context_, std::move(task), [&](std::exception_ptr error, Status status) {
      result = error ? fail(ErrorCode::internal, "it could not be read") : std::move(status);
    });
    context_.restart();
    while (!result) {
      context_.run_one_for(100ms);
      if (!result && outlet_.ended()) {
        return fail(ErrorCode::internal, "told to end before it was done");
      }
    }
    return *std::move(result);
  }

  const Wish& wish_;
  const Outlet& outlet_;
  KnownKeys keys_;
  std::unique_ptr<openstack::Service> neutron_service_, nova_service_;
  std::optional<NeutronReader> neutron_;
  std::optional<NovaReader> nova_;
  Tables tables_;
  Composed document_;
  std::string handed_over_;
  boost::asio::io_context context_{1};  ///< goes first, and with it whatever waits in it
};

std::string text_of(const Counts& document) {
  return std::to_string(document.networks) + " networks, " + std::to_string(document.subnets) +
         " subnets, " + std::to_string(document.routers) + " routers, " +
         std::to_string(document.ports) + " ports, " + std::to_string(document.servers) +
         " servers" +
         (document.left_out == 0 ? ""
                                 : "; left out, as what they refer to is gone or hidden: " +
                                       std::to_string(document.left_out));
}

/// Says what was handed over, and what it lacks as far as that is new.
void tell(const Wish& wish, const Outlet& outlet, const Imported& imported,
          std::vector<NotTold>& told) {
  outlet.say((wish.target.empty() ? "" : wish.target.string() + ": ") + text_of(imported.counts));
  if (imported.not_told != told) {
    for (const auto& [key, why] : imported.not_told) {
      outlet.say("not told: " + key + ": " + why);
    }
    told = imported.not_told;
  }
}

/// What is handed over stays if it cannot be followed for a time.
void follow(const Wish& wish, const Outlet& outlet, Import& import, std::vector<NotTold>& told) {
  auto anew_at = Clock::now() + kAnew;
  std::string trouble;  // the last that was said
  while (outlet.pause(*wish.follow)) {
    const bool anew = Clock::now() >= anew_at;
    auto status = anew ? import.read_all() : import.read_changes();
    auto handed_over = status ? import.hand_over() : tl::make_unexpected(status.error());
    if (handed_over) {
      anew_at = anew ? Clock::now() + kAnew : anew_at;
      if (*handed_over) {
        tell(wish, outlet, import.imported(), told);
      } else if (!trouble.empty()) {
        outlet.say("all is well again");
      }
      trouble.clear();
      continue;
    }
    if (outlet.ended()) {
      return;
    }
    // Lists that contradict each other are read anew, as a whole.
    anew_at = handed_over.error().code == ErrorCode::invalid ? Clock::now() : anew_at;
    if (handed_over.error().message != trouble) {
      trouble = handed_over.error().message;
      outlet.say(trouble + "; " + wish.target.string() + " stays as it is, and is tried again");
    }
  }
}

}  // namespace

Result<Imported> run(const Wish& wish, const Outlet& outlet) {
  auto credentials = find_credentials(wish.credentials);
  if (!credentials) {
    return tl::make_unexpected(std::move(credentials.error()));
  }
  Import import(wish, outlet);
  if (auto status = import.open(*std::move(credentials)); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  if (auto status = import.read_all(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  if (const auto handed_over = import.hand_over(); !handed_over) {
    return tl::make_unexpected(handed_over.error());
  }
  std::vector<NotTold> told;
  tell(wish, outlet, import.imported(), told);
  if (wish.follow) {
    follow(wish, outlet, import, told);
  }
  return import.imported();
}

}  // namespace metatap::importer
