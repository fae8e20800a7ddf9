// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {

/// A file or directory that is gone again unless it was kept, so that nobody ever sees half of one.
class Scratch {
 public:
  /// Beside the target, which need not exist; for its owner alone.
  [[nodiscard]] static Result<Scratch> file(const std::filesystem::path& target);
  /// Where temporary things are.
  [[nodiscard]] static Result<Scratch> directory();

  Scratch(Scratch&& other) noexcept
      : path_(std::exchange(other.path_, {})), fd(std::move(other.fd)) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Takes the target's place.
  [[nodiscard]] Status keep_as(const std::filesystem::path& target);

 private:
  Scratch(std::string path, UniqueFd opened) : path_(std::move(path)), fd(std::move(opened)) {}
  std::filesystem::path path_;

 public:
  UniqueFd fd;  ///< of the file, for writing; of a directory, none
};

/// Makes the file what `text` is, at once and as a whole, and on the disk before that. It keeps the
/// mode it has and, where we may, its owner; a new one is for its owner alone.
[[nodiscard]] Status replace_file(const std::filesystem::path& file, std::string_view text);

}  // namespace metatap
