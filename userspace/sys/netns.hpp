// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {

/// Where named namespaces live, as iproute2 has it.
inline constexpr std::string_view kNamedNamespaces = "/run/netns";

/// A network namespace held open. Holding it keeps it alive: let go soon after it is deleted.
/// Move only; may be used from any thread.
class NetNamespace {
 public:
  /// Identity of the namespace itself, whatever it is called.
  struct Id {
    dev_t device = 0;
    ino_t inode = 0;
    auto operator<=>(const Id&) const = default;
  };

  /// A name under /run/netns, or a path (anything with a slash).
  static Result<NetNamespace> open(std::string_view name_or_path);
  /// The calling thread's own.
  static Result<NetNamespace> current();
  /// Makes a new one under /run/netns and opens it, or opens the one of that name.
  static Result<NetNamespace> create_named(std::string_view name);
  /// Takes the name away; the namespace goes with its last user. No such name is success.
  static Status delete_named(std::string_view name);
  /// Gives it its name again, where somebody took that away. ErrorCode::conflict: another
  /// namespace has it now.
  [[nodiscard]] Status restore_name() const;
  /// Whether its name still leads to it.
  [[nodiscard]] bool has_name() const;
  /// Names under /run/netns, sorted.
  static Result<std::vector<std::string>> names();

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] Id id() const { return id_; }

  /// Runs `f` inside the namespace on a helper thread and returns what it returns (a Result).
  /// Sockets opened there stay in the namespace and may be used anywhere.
  template <class F>
  auto run(F&& f) const -> std::invoke_result_t<F> {
    using R = std::invoke_result_t<F>;
    R result = fail(ErrorCode::internal, "namespace " + name_ + ": helper thread did not run");
    std::thread helper([&] {
      try {
        if (auto entered = enter(); !entered) {
          result = tl::make_unexpected(std::move(entered.error()));
        } else {
          result = f();
        }
      } catch (const std::exception& e) {
        result = fail(ErrorCode::internal, "namespace " + name_ + ": " + e.what());
      }
    });
    helper.join();
    return result;
  }

 private:
  NetNamespace(UniqueFd fd, std::string name, Id id)
      : fd_(std::move(fd)), name_(std::move(name)), id_(id) {}
  static Result<NetNamespace> open_path(const std::filesystem::path& path, std::string name);
  /// Moves the calling thread in; only ever a helper thread, which ends afterwards.
  [[nodiscard]] Status enter() const;

  UniqueFd fd_;
  std::string name_;
  Id id_;
};

}  // namespace metatap::sys
