// SPDX-License-Identifier: Apache-2.0
#include "inventory/check_instances.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "inventory/json_reader.hpp"

namespace metatap {
namespace {

using json::in_quotes;

constexpr std::size_t kNovasColumn = 255;

bool is_control(char c) {
  return (c >= 0 && c < ' ') || c == 0x7f;
}

std::size_t characters_of(std::string_view text) {
  std::size_t characters = 0;
  for (; !text.empty(); ++characters) {
    text.remove_prefix(std::max<std::size_t>(first_character(text).bytes, 1));
  }
  return characters;
}

/// One line of text, and not an empty one.
bool is_name(std::string_view text) {
  return !text.empty() && characters_of(text) <= kNovasColumn &&
         std::ranges::none_of(text, is_control);
}

/// What a header may carry; empty: none is known.
bool is_project(std::string_view text) {
  return text.size() <= kNovasColumn &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

/// What Nova takes, or derives from a name: letters (of Latin-1 too), digits, hyphens, underscores,
/// periods.
bool is_hostname(std::string_view text) {
  return is_name(text) && std::ranges::all_of(text, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.' || static_cast<unsigned char>(c) >= 0x80;
         });
}

class InstanceChecker {
 public:
  InstanceChecker(const Instance& instance, const DocumentPlaces& places, json::Mistakes& mistakes)
      : instance_(instance), places_(places), mistakes_(mistakes) {}

  void run() const {
    if (!is_hostname(instance_.hostname)) {
      refuse("/hostname", in_quotes(instance_.hostname) + " is not a host name");
    }
    if (!is_project(instance_.project_id)) {
      refuse("/project_id", in_quotes(instance_.project_id) + " is not an id");
    }
    name("/display_name", instance_.display_name);
    name("/availability_zone", instance_.availability_zone);
    name("/reservation_id", instance_.reservation_id);
    name("/flavor/name", instance_.flavor_name);
    each(instance_.security_groups, "/security_groups",
         [&](const std::string& at, const std::string& group) { name(at, group); });
    for (const auto& [key, value] : instance_.metadata) {
      if (key.empty()) {
        refuse("/metadata/", "a key without a name");
      } else if (characters_of(key) > kNovasColumn || characters_of(value) > kNovasColumn) {
        refuse("/metadata", in_quotes(key) + ": a key and its value have 255 characters at most");
      }
    }
    check_keys();
    check_disks();
    check_devices();
  }

 private:
  void refuse(const std::string& member, const std::string& reason) const {
    mistakes_.add(places_.pointer("instances", instance_.uuid, member), reason);
  }
  /// Absent is well; what is there is a name.
  void name(const std::string& member, const std::optional<std::string>& text) const {
    if (text && !is_name(*text)) {
      refuse(member, in_quotes(*text) + " is not one line of 1 to 255 characters");
    }
  }
  /// A member without which Nova has no such thing.
  void need(const std::string& member, std::string_view key,
            const std::optional<std::string>& text) const {
    if (!text) {
      refuse(member, "\"" + std::string(key) + "\" is required");
    }
    name(member + "/" + std::string(key), text);
  }
  void one_of(const std::string& member, const std::optional<std::string>& text,
              std::initializer_list<std::string_view> choices) const {
    if (text && std::ranges::find(choices, *text) == choices.end()) {
      std::string list;
      for (const auto choice : choices) {
        list += (list.empty() ? "" : ", ") + std::string(choice);
      }
      refuse(member, in_quotes(*text) + " is none of " + list);
    }
  }
  template <class T, class F>
  static void each(const std::vector<T>& items, const std::string& member, F&& check) {
    for (std::size_t index = 0; index < items.size(); ++index) {
      check(member + "/" + std::to_string(index), items[index]);
    }
  }
  static bool there(const std::optional<std::string>& text) { return text && !text->empty(); }

  /// Both trees show a key by its name, and a guest takes whatever it is told for one.
  void check_keys() const {
    if (there(instance_.key_name)) {
      name("/key_name", instance_.key_name);
      if (!there(instance_.key_data)) {
        refuse("/key_name", "there is no such key in key_data, nor in keypairs");
      }
    } else if (there(instance_.key_data)) {
      refuse("/key_data", "a key needs a name: \"key_name\"");
    }
    each(instance_.keypairs, "/keypairs", [&](const std::string& at, const Keypair& pair) {
      name(at + "/name", pair.name);
      one_of(at + "/type", pair.type, {"ssh", "x509"});
      if (pair.public_key.empty()) {
        refuse(at + "/public_key", "an empty key");
      }
    });
  }

  void check_disks() const {
    // An empty one of these is another answer than none.
    const auto device = [&](const std::string& member, const std::optional<std::string>& text) {
      if (there(text)) {
        name(member, text);
      }
    };
    device("/root_device_name", instance_.root_device_name);
    device("/default_ephemeral_device", instance_.default_ephemeral_device);
    device("/default_swap_device", instance_.default_swap_device);
    each(instance_.block_device_mappings, "/block_device_mappings",
         [&](const std::string& at, const BlockDeviceMapping& disk) {
           one_of(at + "/source_type", disk.source_type, {"image", "volume", "snapshot", "blank"});
           one_of(at + "/destination_type", disk.destination_type, {"local", "volume"});
           name(at + "/device_name", disk.device_name);
           if (disk.source_type == "blank" && disk.destination_type != "volume") {
             need(at, "device_name", disk.device_name);  // it is what the guest is told of the disk
           }
         });
  }

  void check_devices() const {
    if (!instance_.device_metadata) {
      return;
    }
    each(*instance_.device_metadata, "/device_metadata",
         [&](const std::string& at, const DeviceMetadata& device) {
           if (device.kind == "nic") {
             need(at, "mac", device.mac);
           } else if (device.kind == "share") {
             need(at, "share_id", device.share_id);
             need(at, "tag", device.tag);
           }
         });
  }

  const Instance& instance_;
  const DocumentPlaces& places_;
  json::Mistakes& mistakes_;
};

}  // namespace

void check_instances(const FreshObjects& fresh, const DocumentPlaces& places,
                     json::Mistakes& mistakes) {
  for (const auto& instance : fresh.instances) {
    if (places.good("instances", instance->uuid)) {
      InstanceChecker(*instance, places, mistakes).run();
    }
  }
}

}  // namespace metatap
