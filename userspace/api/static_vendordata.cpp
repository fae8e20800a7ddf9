// SPDX-License-Identifier: Apache-2.0
#include "api/static_vendordata.hpp"

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <utility>

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/published.hpp"
#include "inventory/handover.hpp"

namespace metatap::api {
namespace {

constexpr std::chrono::seconds kPatience{1};

/// What tells one state of the file from the next without reading it.
struct Stamp {
  bool there = false;
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t changed_s = 0, changed_ns = 0;
  bool operator==(const Stamp&) const = default;

  static Stamp of(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) {
      return {};
    }
    return {true,         info.st_dev,         info.st_ino,
            info.st_size, info.st_ctim.tv_sec, info.st_ctim.tv_nsec};
  }
};

std::shared_ptr<const StaticVendordata::Content> content_of(Json value) {
  auto content = std::make_shared<StaticVendordata::Content>();
  content->vendor_data = std::make_shared<const std::string>(value.dump());
  Json both = Json::object();
  both.set("static", value);
  content->vendor_data2 = std::make_shared<const std::string>(both.dump());
  content->value = std::move(value);
  return content;
}

}  // namespace

/// With the thread that looks at it, which may outlive us.
struct StaticVendordata::File {
  explicit File(std::string its_path) : path(std::move(its_path)) { last.size = -1; }

  [[nodiscard]] Result<Json> read() const {
    const auto text = read_file(path, kLongest);
    if (!text) {
      return tl::make_unexpected(text.error());
    }
    return Json::parse(*text);
  }

  void look() {
    const auto now = Stamp::of(path);
    if (now == last) {
      return;
    }
    last = now;
    auto value = read();
    if (!value) {
      errors.fetch_add(1, std::memory_order_relaxed);
      log::warn("vendordata {}: {}; guests get {{}} instead", path, value.error().message);
      value = Json::object();
    }
    content.set(content_of(std::move(*value)));
  }

  const std::string path;
  Stamp last;  ///< as it was at the last look; at first like no file
  std::atomic<std::uint64_t> errors = 0;
  Published<Content> content{content_of(Json::object())};
  std::atomic<bool> looking = false;
};

StaticVendordata::StaticVendordata(std::string path)
    : file_(std::make_shared<File>(std::move(path))) {
  refresh();
}

void StaticVendordata::refresh() {
  if (file_->path.empty() || file_->looking.exchange(true)) {
    return;
  }
  const auto looked = std::make_shared<Handover<bool>>();
  thread_.run([file = file_, looked] {
    try {
      file->look();
    } catch (const std::exception& error) {  // there is no memory for it: looked at again
      file->last.size = -1;
      log::error("vendordata {}: {}", file->path, error.what());
    }
    file->looking = false;
    static_cast<void>(looked->give(true));
  });
  static_cast<void>(looked->take(kPatience));
}

std::shared_ptr<const StaticVendordata::Content> StaticVendordata::get() const {
  return file_->content.get();
}
std::uint64_t StaticVendordata::errors() const {
  return file_->errors.load(std::memory_order_relaxed);
}

}  // namespace metatap::api
