// SPDX-License-Identifier: Apache-2.0
#include "api/document.hpp"

#include <algorithm>

namespace metatap::api {
namespace {

/// A leaf as Nova prints it.
std::string printed(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::string:
    case Json::Kind::number:
      return value.text();
    case Json::Kind::array: {
      std::string lines;
      for (std::size_t i = 0; i < value.items().size(); ++i) {
        lines.append(i == 0 ? "" : "\n").append(value.items()[i].text());
      }
      return lines;
    }
    default:
      return "None";
  }
}

/// Values that hardly any two instances have in common.
bool is_personal(std::string_view path) {
  return path == "hostname" || path == "local-hostname" || path == "public-hostname" ||
         path == "instance-id" || path == "local-ipv4" || path == "reservation-id";
}

}  // namespace

Document::Document(const Metadata& metadata, std::shared_ptr<const Instance> source,
                   const Signature& signature, LayoutCache& layouts, StringPool& pool)
    : source_(std::move(source)),
      layout_(layouts.for_shape(metadata)),
      signature_(signature),
      password_(metadata.password) {
  slots_.reserve(layout_->slots());
  Layout::for_each_leaf(metadata.ec2, [&](const std::string& path, const Json& value) {
    if (is_personal(path)) {
      own(printed(value));
    } else {
      share(pool, printed(value));
    }
  });
  if (metadata.user_data) {
    share(pool, *metadata.user_data);
  }
  own(metadata.head);
  own(metadata.network_data.value_or(""));
  for (const std::string& file : metadata.content) {
    own(file);
  }
  for (std::size_t version = 0; version < layout_->openstack_versions(); ++version) {
    share(pool, metadata.tail[version]);
  }
  own_.shrink_to_fit();
  shared_.shrink_to_fit();
}

void Document::own(std::string text) {
  const auto same = std::ranges::find_if(own_, [&](const auto& known) { return *known == text; });
  if (same != own_.end()) {
    slots_.push_back(same->get());
    return;
  }
  text.shrink_to_fit();
  own_.push_back(std::make_unique<const std::string>(std::move(text)));
  slots_.push_back(own_.back().get());
}

void Document::share(StringPool& pool, std::string text) {
  const auto same =
      std::ranges::find_if(shared_, [&](const auto& known) { return *known == text; });
  if (same != shared_.end()) {
    slots_.push_back(same->get());
    return;
  }
  shared_.push_back(pool.share(std::move(text)));
  slots_.push_back(shared_.back().get());
}

std::size_t Document::bytes() const {
  const auto text = [](const std::string& s) {
    return sizeof(s) + (s.capacity() > 15 ? s.capacity() + 1 : 0);
  };
  std::size_t total = sizeof(*this) + slots_.capacity() * sizeof(slots_[0]) +
                      own_.capacity() * sizeof(own_[0]) + shared_.capacity() * sizeof(shared_[0]);
  for (const auto& owned : own_) {
    total += text(*owned);
  }
  return total;
}

}  // namespace metatap::api
