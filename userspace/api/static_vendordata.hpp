// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "api/json.hpp"
#include "inventory/store_thread.hpp"

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

  /// What is longer is as good as malformed.
  static constexpr std::size_t kLongest = std::size_t{16} << 20U;

  /// An empty path: no file, `{}`. Reads it at once.
  explicit StaticVendordata(std::string path);

  /// Reads the file again if it has changed. A file system that hangs is not waited for, but for a
  /// moment; what comes of it counts when it is there. Control thread only.
  void refresh();
  /// Any thread.
  [[nodiscard]] std::shared_ptr<const Content> get() const;
  [[nodiscard]] std::uint64_t errors() const;

 private:
  struct File;

  const std::shared_ptr<File> file_;
  StoreThread thread_{"vendordata"};
};

}  // namespace metatap::api
