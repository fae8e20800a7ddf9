// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::admin {

/// A guest that is said by options and not by a file: `metatap instance add NAME --device …`.
class GuestOptions {
 public:
  using FileReader = std::function<Result<std::string>(const std::string& file)>;

  /// To each verb that takes them; a run has but one verb.
  void add_to(CLI::App& verb);
  /// Whether there was any of them.
  [[nodiscard]] bool given() const;
  /// The document that says the same. ErrorCode::invalid: a file of it cannot be read.
  [[nodiscard]] Result<std::string> document(const std::string& name, const FileReader& read) const;

 private:
  std::string hostname_, device_, mac_, network_, gateway_, project_, when_down_;
  std::string user_data_, vendor_data_;
  std::vector<std::string> addresses_, name_servers_, ssh_keys_;
  std::optional<int> vlan_;
};

/// A document whose {"file": PATH} of user_data and vendor_data have become what is in these files,
/// so that they are read here, with the rights of who runs this, and not by the daemon. What is no
/// JSON is left as it is. `directory`: of the document, from which the paths lead.
[[nodiscard]] Result<std::string> with_files(const std::string& document,
                                             const std::filesystem::path& directory);

}  // namespace metatap::admin
