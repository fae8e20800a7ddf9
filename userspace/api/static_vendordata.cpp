// SPDX-License-Identifier: Apache-2.0
#include "api/static_vendordata.hpp"

#include "base/file.hpp"
#include "base/log.hpp"

namespace metatap::api {

StaticVendordata::StaticVendordata(std::string path)
    : path_(std::move(path)), content_(content_of(Json::object())) {
  last_.size = -1;  // like no file
  refresh();
}

StaticVendordata::Stamp StaticVendordata::stamp() const {
  struct stat info{};
  if (::stat(path_.c_str(), &info) != 0) {
    return {};
  }
  return {true, info.st_dev, info.st_ino, info.st_size, info.st_ctim};
}

Result<Json> StaticVendordata::read() const {
  const auto text = read_file(path_);
  if (!text) {
    return tl::make_unexpected(text.error());
  }
  return Json::parse(*text);
}

void StaticVendordata::refresh() {
  if (path_.empty()) {
    return;
  }
  const Stamp now = stamp();
  if (now == last_) {
    return;
  }
  last_ = now;
  auto value = read();
  if (!value) {
    errors_.fetch_add(1, std::memory_order_relaxed);
    log::warn("vendordata {}: {}; guests get {{}} instead", path_, value.error().message);
    value = Json::object();
  }
  content_.set(content_of(std::move(*value)));
}

std::shared_ptr<const StaticVendordata::Content> StaticVendordata::content_of(Json value) {
  auto content = std::make_shared<Content>();
  content->vendor_data = std::make_shared<const std::string>(value.dump());
  Json both = Json::object();
  both.set("static", value);
  content->vendor_data2 = std::make_shared<const std::string>(both.dump());
  content->value = std::move(value);
  return content;
}

}  // namespace metatap::api
