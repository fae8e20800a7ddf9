// SPDX-License-Identifier: Apache-2.0
#include "libvirt/guest_directory.hpp"

#include <sstream>
#include <string>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "base/text.hpp"

namespace metatap::libvirt {
namespace {

constexpr std::string_view kMetaData = "meta-data", kUserData = "user-data",
                           kVendorData = "vendor-data", kNetworkConfig = "network-config";

/// Without a scalar's quotes.
std::string_view unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                      text.back() == text.front();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

/// Reads meta-data line by line.
class MetaData {
 public:
  explicit MetaData(GuestData& into) : into_(into) {}

  Status read(std::string_view line) {
    const auto text = trimmed(line, kWhiteSpace);
    if (text.empty() || text.front() == '#' || text == "---") {
      return {};
    }
    if (text.starts_with("- ") || text == "-") {
      if (!in_keys_) {
        return fail(ErrorCode::invalid, "a list of what?");
      }
      into_.ssh_keys.emplace_back(unquoted(trimmed(text.substr(1), kWhiteSpace)));
      return {};
    }
    const auto colon = text.find(':');
    if (colon == std::string_view::npos || line.front() == ' ' || line.front() == '\t' ||
        (colon + 1 < text.size() && text[colon + 1] != ' ')) {
      return fail(ErrorCode::invalid, "expected NAME: VALUE");
    }
    return take(text.substr(0, colon), unquoted(trimmed(text.substr(colon + 1), kWhiteSpace)));
  }

 private:
  Status take(std::string_view name, std::string_view value) {
    in_keys_ = name == "public-keys" && value.empty();
    if (in_keys_ || name == "instance-id") {
      return {};
    }
    if (value.empty() || value.front() == '[' || value.front() == '{' || value == "|") {
      return fail(ErrorCode::invalid, std::string(name) + ": expected a value on the same line");
    }
    if (name == "local-hostname" || name == "hostname") {
      into_.hostname = value;
    } else if (name == "public-keys") {
      into_.ssh_keys.emplace_back(value);
    } else {
      into_.metadata.emplace_back(name, value);
    }
    return {};
  }

  GuestData& into_;
  bool in_keys_ = false;
};

Status read_meta_data(const std::string& text, GuestData& into) {
  MetaData reader(into);
  std::istringstream lines(text);
  std::size_t number = 0;
  std::string mistakes;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (const auto read = reader.read(line); !read) {
      mistakes += (mistakes.empty() ? "line " : "; line ") + std::to_string(number) + ": " +
                  read.error().message;
    }
  }
  return mistakes.empty() ? Status() : fail(ErrorCode::invalid, std::move(mistakes));
}

/// nullopt: it is not there.
Result<std::optional<std::string>> read_if_there(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error) && !error) {
    return std::nullopt;
  }
  auto text = read_file(file);
  if (!text) {
    return tl::make_unexpected(std::move(text.error()));
  }
  return *std::move(text);
}

}  // namespace

Result<std::optional<GuestData>> read_guest_directory(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    if (error && error != std::errc::no_such_file_or_directory &&
        error != std::errc::not_a_directory) {
      return fail_errno(error.value(), directory.string());
    }
    return std::nullopt;
  }
  GuestData data;
  if (std::filesystem::exists(directory / kNetworkConfig, error)) {
    return fail(ErrorCode::unsupported,
                (directory / kNetworkConfig).string() +
                    ": the metadata service has no place for it; the guest's network is what the "
                    "domain's interfaces say");
  }
  auto meta_data = read_if_there(directory / kMetaData);
  auto user_data = read_if_there(directory / kUserData);
  auto vendor_data = read_if_there(directory / kVendorData);
  for (const auto* text : {&meta_data, &user_data, &vendor_data}) {
    if (!*text) {
      return tl::make_unexpected(text->error());
    }
  }
  if (!*meta_data && !*user_data && !*vendor_data) {
    return fail(ErrorCode::not_found,
                directory.string() + ": neither meta-data nor user-data nor vendor-data is in it");
  }
  if (*meta_data) {
    if (auto read = read_meta_data(**meta_data, data); !read) {
      return tl::make_unexpected(std::move(read.error()).in((directory / kMetaData).string()));
    }
  }
  data.user_data = *std::move(user_data);
  data.vendor_data = *std::move(vendor_data);
  return data;
}

}  // namespace metatap::libvirt
