// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>

#include "dataplane/options.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::dataplane {

enum class TcSide : bool { ingress, egress };

/// One program at TC ingress or egress of one device. TCX where the kernel has it (6.6), else
/// clsact. TCX links are pinned, so that they outlive the process; attaching again over such a pin
/// replaces the program in place, without a moment in which packets go past it.
/// A qdisc that was there before us is never deleted. Move only; control thread.
class TcAttachment {
 public:
  /// In the namespace of the calling thread. `pin`: file for the link, its directory exists.
  static Result<TcAttachment> attach(int program_fd, unsigned ifindex, AttachMode mode,
                                     std::filesystem::path pin, TcSide side = TcSide::ingress);
  /// Does this kernel have TCX? One system call.
  static bool kernel_has_tcx();

  TcAttachment(TcAttachment&& other) noexcept;
  TcAttachment& operator=(TcAttachment&& other) noexcept;
  TcAttachment(const TcAttachment&) = delete;
  TcAttachment& operator=(const TcAttachment&) = delete;
  /// Detaches. With clsact it must run in the device's namespace.
  ~TcAttachment();

  /// False when the device it was attached to has gone, even if one of that ifindex is back.
  [[nodiscard]] bool alive() const;
  /// Leaves the program attached when this object goes: the next process takes it over.
  void keep() { kept_ = true; }

  [[nodiscard]] std::string_view kind() const { return link_ ? "tcx" : "clsact"; }
  [[nodiscard]] unsigned ifindex() const { return ifindex_; }

 private:
  TcAttachment(unsigned ifindex, std::filesystem::path pin, TcSide side)
      : ifindex_(ifindex), side_(side), pin_(std::move(pin)) {}
  static Result<TcAttachment> attach_tcx(int program_fd, unsigned ifindex,
                                         const std::filesystem::path& pin, TcSide side);
  static Result<TcAttachment> attach_clsact(int program_fd, unsigned ifindex, TcSide side);
  void detach();

  unsigned ifindex_ = 0;  ///< 0: nothing is attached
  TcSide side_ = TcSide::ingress;
  std::filesystem::path pin_;
  UniqueFd link_;               ///< TCX
  bool created_qdisc_ = false;  ///< clsact
  bool kept_ = false;
};

}  // namespace metatap::dataplane
