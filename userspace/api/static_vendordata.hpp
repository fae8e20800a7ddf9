// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "api/json.hpp"
#include "base/published.hpp"

namespace metatap::api {

/// The operator's vendordata file. A missing or malformed one never takes an instance down: it
/// counts as `{}`, is logged once for each state of the file, and counted.
class StaticVendordata {
 public:
  struct Content {
    Json value = Json::object();
    std::shared_ptr<const std::string> vendor_data;   ///< the value
    std::shared_ptr<const std::string> vendor_data2;  ///< {"static": the value}
  };

  /// An empty path: no file, `{}`. Reads it at once.
  explicit StaticVendordata(std::string path);

  /// Reads the file again if it has changed. Control thread only.
  void refresh();
  /// Any thread.
  [[nodiscard]] std::shared_ptr<const Content> get() const { return content_.get(); }
  [[nodiscard]] std::uint64_t errors() const { return errors_.load(std::memory_order_relaxed); }

 private:
  struct Stamp {
    bool there = false;
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    timespec changed{};
    bool operator==(const Stamp& other) const {
      return there == other.there && device == other.device && inode == other.inode &&
             size == other.size && changed.tv_sec == other.changed.tv_sec &&
             changed.tv_nsec == other.changed.tv_nsec;
    }
  };
  [[nodiscard]] Stamp stamp() const;
  [[nodiscard]] Result<Json> read() const;
  static std::shared_ptr<const Content> content_of(Json value);

  std::string path_;
  Stamp last_;
  std::atomic<std::uint64_t> errors_ = 0;
  Published<Content> content_;
};

}  // namespace metatap::api
