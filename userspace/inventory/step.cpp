// SPDX-License-Identifier: Apache-2.0
#include "inventory/step.hpp"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <charconv>
#include <utility>

#include "base/text.hpp"
#include "inventory/difference.hpp"

namespace metatap {
namespace {

using Space = Ec2Ledger::Space;

constexpr std::size_t kPasswordParts = 4;
constexpr std::size_t kPasswordPartLength = 255;

std::string password_key(std::size_t part) {
  return "password_" + std::to_string(part);
}

/// Cuts UTF-8 text into parts of so many characters; nullopt if it is not UTF-8 or too long.
std::optional<std::vector<std::string>> password_parts(std::string_view text) {
  std::vector<std::string> parts;
  std::size_t room = 0;
  while (!text.empty()) {
    const auto bytes = first_character(text).bytes;
    if (bytes == 0) {
      return std::nullopt;
    }
    if (room == 0) {
      parts.emplace_back();
      room = kPasswordPartLength;
    }
    parts.back().append(text.substr(0, bytes));
    --room;
    text.remove_prefix(bytes);
  }
  return parts.size() <= kPasswordParts ? std::optional(std::move(parts)) : std::nullopt;
}

/// Nova's form: r- and eight of these 36.
std::string new_reservation_id() {
  constexpr std::string_view kSigns = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::array<unsigned char, 8> random{};
  ::RAND_bytes(random.data(), static_cast<int>(random.size()));
  std::string id = "r-";
  for (const unsigned char byte : random) {
    id.push_back(kSigns[byte % kSigns.size()]);
  }
  return id;
}

/// The number in an EC2 name; nullopt for one longer than Nova's, which is carried as it is.
std::optional<std::uint32_t> number_in(std::string_view name) {
  const auto digits = name.substr(name.find('-') + 1);
  std::uint32_t number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return error == std::errc() && digits.size() == 8 ? std::optional(number) : std::nullopt;
}

/// Gives EC2 names; what it gives is on top of the ledger until the transaction is through.
class Ec2Names {
 public:
  explicit Ec2Names(const Ec2Ledger& ledger) : ledger_(&ledger) {}

  /// A name the document brings: it must not be another's, nor another than the one it has.
  Status claim(Space space, const std::optional<std::string>& uuid,
               const std::optional<std::string>& name) {
    if (!uuid || uuid->empty() || !name) {
      return {};
    }
    const auto number = number_in(*name);
    if (!number) {
      return {};
    }
    if (const auto* owner = owner_of(space, *number)) {
      if (*owner == *uuid) {
        return {};
      }
      return fail(ErrorCode::conflict,
                  fmt::format("EC2 id {} cannot be {}'s: it was given to {}, and is for ever",
                              *name, *uuid, *owner));
    }
    if (const auto given = number_of(space, *uuid)) {
      return fail(ErrorCode::conflict,
                  fmt::format("{} cannot have the EC2 id {}: its number is {:08x}, and is for ever",
                              *uuid, *name, *given));
    }
    add(space, *number, *uuid);
    return {};
  }

  /// The name, given now where there is none yet; nullopt where there is nothing to name.
  std::optional<std::string> name(Space space, std::string_view prefix,
                                  const std::optional<std::string>& uuid) {
    if (!uuid || uuid->empty()) {
      return std::nullopt;
    }
    auto number = number_of(space, *uuid);
    if (!number) {
      number = std::max(ledger_->next(space), fresh_.next(space));
      add(space, *number, *uuid);
    }
    return fmt::format("{}{:08x}", prefix, *number);
  }

  [[nodiscard]] std::vector<Ec2Ledger::Entry> take() { return std::move(given_); }

 private:
  [[nodiscard]] const std::string* owner_of(Space space, std::uint32_t number) const {
    const auto* owner = ledger_->owner_of(space, number);
    return owner != nullptr ? owner : fresh_.owner_of(space, number);
  }
  [[nodiscard]] std::optional<std::uint32_t> number_of(Space space, std::string_view uuid) const {
    const auto number = ledger_->number_of(space, uuid);
    return number ? number : fresh_.number_of(space, uuid);
  }
  void add(Space space, std::uint32_t number, const std::string& uuid) {
    given_.push_back({space, number, uuid});
    fresh_.add(given_.back());
  }

  const Ec2Ledger* ledger_;
  Ec2Ledger fresh_;
  std::vector<Ec2Ledger::Entry> given_;
};

/// A step that changes one instance and nothing else.
Step step_for(const std::shared_ptr<const Inventory>& stored, Instance instance) {
  auto next = std::make_shared<Inventory>(*stored);
  const auto id = instance.uuid;
  next->instances.insert_or_assign(id, std::make_shared<const Instance>(std::move(instance)));
  ++next->revision;
  Step step{{stored, std::move(next), {}, {}, {}, {}, {}}, {}};
  step.change.instances.push_back(id);
  return step;
}

Step no_step(const std::shared_ptr<const Inventory>& stored) {
  return {{stored, stored, {}, {}, {}, {}, {}}, {}};
}

Result<Instance> copy_of(const Inventory& stored, std::string_view instance_id) {
  const auto found = stored.instances.find(instance_id);
  if (found == stored.instances.end()) {
    return fail(ErrorCode::not_found, fmt::format("there is no instance {}", instance_id));
  }
  return *found->second;
}

void drop_password(Instance& instance) {
  for (std::size_t part = 0; part < kPasswordParts; ++part) {
    instance.system_metadata.erase(password_key(part));
  }
}

/// What the document left to the store: kept from before, or given now.
std::shared_ptr<const Instance> completed(const Instance& wanted, const Instance* stored,
                                          Ec2Names& names) {
  auto instance = std::make_shared<Instance>(wanted);
  if (!instance->reservation_id) {
    instance->reservation_id = stored != nullptr && stored->reservation_id ? *stored->reservation_id
                                                                           : new_reservation_id();
  }
  auto& ids = instance->ec2_ids;
  const auto give = [&](std::optional<std::string>& name, Space space, std::string_view prefix,
                        const std::optional<std::string>& uuid) {
    if (!name) {
      name = names.name(space, prefix, uuid);
    }
  };
  give(ids.instance_id, Space::instance, "i-", instance->uuid);
  give(ids.ami_id, Space::image, "ami-", instance->image_ref);
  give(ids.kernel_id, Space::image, "aki-", instance->kernel_id);
  give(ids.ramdisk_id, Space::image, "ari-", instance->ramdisk_id);
  if (stored != nullptr && !password_of(*stored).empty()) {
    drop_password(*instance);
    for (std::size_t part = 0; part < kPasswordParts; ++part) {
      if (const auto kept = stored->system_metadata.find(password_key(part));
          kept != stored->system_metadata.end()) {
        instance->system_metadata.insert(*kept);
      }
    }
  }
  return instance;
}

/// Gives each instance that is new, or another object than the stored one, what the document left
/// to the store. What the document names goes first, so that a number given here cannot be one it
/// brings.
Status complete(const Inventory::Table<Instance>& stored, Inventory::Table<Instance>& next,
                Ec2Names& names) {
  Status claimed;
  std::vector<std::pair<const Instance*, std::shared_ptr<const Instance>>> wanted;
  for_each_difference(
      stored, next, [&](const std::string& uuid, const Instance* old, const Instance* now) {
        if (now == nullptr || !claimed) {
          return;
        }
        wanted.emplace_back(old, next.at(uuid));
        const auto& ids = now->ec2_ids;
        for (const auto& claim : {names.claim(Space::instance, now->uuid, ids.instance_id),
                                  names.claim(Space::image, now->image_ref, ids.ami_id),
                                  names.claim(Space::image, now->kernel_id, ids.kernel_id),
                                  names.claim(Space::image, now->ramdisk_id, ids.ramdisk_id)}) {
          if (!claim && claimed) {
            claimed = fail(claim.error().code,
                           "/instances/" + now->uuid + "/ec2_ids: " + claim.error().message);
          }
        }
      });
  if (claimed) {
    for (const auto& [old, now] : wanted) {
      next[now->uuid] = completed(*now, old, names);
    }
  }
  return claimed;
}

}  // namespace

std::optional<std::uint32_t> Ec2Ledger::number_of(Space space, std::string_view uuid) const {
  const auto& numbers = spaces_.at(static_cast<std::size_t>(space)).by_uuid;
  const auto found = numbers.find(uuid);
  return found == numbers.end() ? std::nullopt : std::optional(found->second);
}

const std::string* Ec2Ledger::owner_of(Space space, std::uint32_t number) const {
  const auto& owners = spaces_.at(static_cast<std::size_t>(space)).by_number;
  const auto found = owners.find(number);
  return found == owners.end() ? nullptr : &found->second;
}

std::uint32_t Ec2Ledger::next(Space space) const {
  const auto& owners = spaces_.at(static_cast<std::size_t>(space)).by_number;
  return owners.empty() ? 1 : owners.rbegin()->first + 1;
}

void Ec2Ledger::add(const Entry& entry) {
  auto& numbers = spaces_.at(static_cast<std::size_t>(entry.space));
  numbers.by_uuid.insert_or_assign(entry.uuid, entry.number);
  numbers.by_number.insert_or_assign(entry.number, entry.uuid);
}

Result<Step> step_replace(const std::shared_ptr<const Inventory>& stored, const Ec2Ledger& ledger,
                          const Inventory& wanted) {
  if (wanted.revision != 0 && wanted.revision != stored->revision) {
    return fail(ErrorCode::conflict,
                fmt::format("the inventory has changed meanwhile: revision {} is not {}",
                            stored->revision, wanted.revision));
  }
  Ec2Names names(ledger);
  auto next = std::make_shared<Inventory>(wanted);
  if (auto status = complete(stored->instances, next->instances, names); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  Step step{{stored, stored, {}, {}, {}, {}, {}}, names.take()};
  step.change.networks = settle(stored->networks, next->networks);
  step.change.subnets = settle(stored->subnets, next->subnets);
  step.change.routers = settle(stored->routers, next->routers);
  step.change.ports = settle(stored->ports, next->ports);
  step.change.instances = settle(stored->instances, next->instances);
  if (step.changes()) {
    next->revision = stored->revision + 1;
    step.change.after = std::move(next);
  }
  return step;
}

Result<Step> step_set_password(const std::shared_ptr<const Inventory>& stored,
                               std::string_view instance_id, std::string_view text) {
  auto instance = copy_of(*stored, instance_id);
  if (!instance) {
    return tl::make_unexpected(std::move(instance.error()));
  }
  if (!password_of(*instance).empty()) {
    return fail(ErrorCode::conflict,
                fmt::format("instance {} has a password already", instance_id));
  }
  const auto parts = password_parts(text);
  if (!parts) {
    return fail(ErrorCode::invalid,
                "the password is longer than 4 times 255 characters, or not UTF-8");
  }
  if (parts->empty()) {
    return no_step(stored);
  }
  drop_password(*instance);
  for (std::size_t part = 0; part < parts->size(); ++part) {
    instance->system_metadata.emplace(password_key(part), (*parts)[part]);
  }
  return step_for(stored, *std::move(instance));
}

Result<Step> step_clear_password(const std::shared_ptr<const Inventory>& stored,
                                 std::string_view instance_id) {
  auto instance = copy_of(*stored, instance_id);
  if (!instance) {
    return tl::make_unexpected(std::move(instance.error()));
  }
  if (password_of(*instance).empty()) {
    return no_step(stored);
  }
  drop_password(*instance);
  return step_for(stored, *std::move(instance));
}

std::string password_of(const Instance& instance) {
  std::string text;
  for (std::size_t part = 0; part < kPasswordParts; ++part) {
    if (const auto found = instance.system_metadata.find(password_key(part));
        found != instance.system_metadata.end()) {
      text += found->second;
    }
  }
  return text;
}

std::shared_ptr<const Instance> with_kept_ids(const Instance& wanted, const Instance& old) {
  auto filled = std::make_shared<Instance>(wanted);
  const auto keep = [](auto& mine, const auto& theirs) {
    if (!mine) {
      mine = theirs;
    }
  };
  keep(filled->reservation_id, old.reservation_id);
  keep(filled->ec2_ids.instance_id, old.ec2_ids.instance_id);
  if (filled->image_ref == old.image_ref) {
    keep(filled->ec2_ids.ami_id, old.ec2_ids.ami_id);
  }
  if (filled->kernel_id == old.kernel_id) {
    keep(filled->ec2_ids.kernel_id, old.ec2_ids.kernel_id);
  }
  if (filled->ramdisk_id == old.ramdisk_id) {
    keep(filled->ec2_ids.ramdisk_id, old.ec2_ids.ramdisk_id);
  }
  for (const auto& [key, value] : old.system_metadata) {
    if (key.starts_with("password_")) {
      filled->system_metadata.insert_or_assign(key, value);
    }
  }
  return filled;
}

}  // namespace metatap
