// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "importer/compose.hpp"
#include "importer/credentials.hpp"

/// What `metatap import` is told, and tells.
namespace metatap::importer {

/// Takes a sentence for the operator.
using Say = std::function<void(const std::string&)>;

/// What is to be imported, from whom, whither.
struct Wish {
  bool neutron = false, nova = false;
  CredentialSource credentials;
  bool own_project = false;      ///< the credential's servers alone; else those of all projects
  std::filesystem::path target;  ///< replaced as a whole; empty: `Outlet::document` takes it
  /// Follow what changes, asking so often, until told to end. Takes a target.
  std::optional<std::chrono::seconds> follow;
};

/// Where it all goes.
struct Outlet {
  Say say;                                         ///< progress, and what went wrong on the way
  std::function<bool(std::string_view)> document;  ///< false: nobody takes it any more
  std::function<bool()> ended;                     ///< whether somebody wants us to end
  std::function<bool(std::chrono::milliseconds)> pause;  ///< false: somebody wants us to end
};

/// A key of the document that has no value, or another one than Nova's own metadata, and why.
struct NotTold {
  std::string key, why;
  bool operator==(const NotTold&) const = default;
};

struct Imported {
  Counts counts;  ///< of the last document
  std::vector<NotTold> not_told;
};

}  // namespace metatap::importer
