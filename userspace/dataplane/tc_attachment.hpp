// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/options.hpp"
#include "dataplane/tc_chain.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::dataplane {

/// By filters, where others change what ours depend on, or by TCX?
[[nodiscard]] bool attaches_by_filter(AttachMode mode);

/// Takes away the filters that a process has left on a device which is no port's any more, and a
/// qdisc of our making with them. TCX links go with their pins instead.
void remove_left_filters(unsigned ifindex, TcSide side);

/// Somebody had got ahead of us, and we ahead of him again.
struct Overtaking {
  std::string whom;  ///< as TcAttachment::after_whom()
  std::chrono::system_clock::time_point when;
};

/// One program at TC ingress or egress of one device, ahead of all others there: TCX where the
/// kernel has it (6.6), else a filter. TCX links are pinned, so that they outlive the process;
/// attaching again over such a pin, or over such a filter, replaces the program in place, without
/// a moment in which packets go past it.
///
/// What is shared is not ours: a filter uses the qdisc that is there. Where there is none it makes
/// an ingress qdisc (clsact if it must see egress), notes so in the filter's handle, and takes it
/// away again only when nobody else's filter is on it. Move only; control thread; everything here
/// runs in the device's namespace.
class TcAttachment {
 public:
  /// `pin`: file for the link, its directory exists. `program_fd` outlives this.
  static Result<TcAttachment> attach(int program_fd, unsigned ifindex, AttachMode mode,
                                     std::filesystem::path pin, TcSide side = TcSide::ingress);

  TcAttachment(TcAttachment&& other) noexcept;
  TcAttachment& operator=(TcAttachment&& other) noexcept;
  TcAttachment(const TcAttachment&) = delete;
  TcAttachment& operator=(const TcAttachment&) = delete;
  /// Detaches.
  ~TcAttachment();

  enum class MakeQdisc : bool { no, yes };
  enum class Standing : std::uint8_t {
    // From the best to the worst.
    attached,  ///< before() names those who come first, if any
    bare,      ///< the qdisc is gone and our filter with it
    gone,      ///< the device is gone, even if another has its number now
  };
  /// Looks at the chain. A filter that was taken away is put back (onto a new qdisc only if so
  /// told); who has got ahead of us is overtaken, three times in a row at most, so that two
  /// programs that both want to be first do not fight for ever.
  Standing look(MakeQdisc make = MakeQdisc::yes);
  /// Programs and filters ahead of ours as of attach() or the last look(); they may take packets
  /// first.
  [[nodiscard]] const std::vector<std::string>& before() const { return before_; }
  /// The same as a sentence without a verb for a status; empty: ours is the first.
  [[nodiscard]] std::string after_whom() const;

  /// The last time.
  [[nodiscard]] const std::optional<Overtaking>& overtaken() const { return overtaken_; }

  /// Leaves the program attached when this object goes: the next process takes it over.
  void keep() { kept_ = true; }

  /// "tcx", or "clsact": a filter, whatever qdisc it is on.
  [[nodiscard]] std::string_view kind() const { return link_ ? "tcx" : "clsact"; }
  [[nodiscard]] unsigned ifindex() const { return ifindex_; }

 private:
  TcAttachment(int program_fd, unsigned ifindex, std::filesystem::path pin, TcSide side)
      : program_fd_(program_fd), ifindex_(ifindex), side_(side), pin_(std::move(pin)) {}
  Status attach_tcx();
  Status move_tcx_first();
  Status put_filter(MakeQdisc make);
  Standing put_back(MakeQdisc make);
  Standing list_before();
  void detach();

  int program_fd_ = -1;
  unsigned ifindex_ = 0;  ///< 0: nothing is attached
  TcSide side_ = TcSide::ingress;
  std::filesystem::path pin_;
  UniqueFd link_;             ///< TCX
  unsigned priority_ = 0;     ///< filter
  std::uint32_t handle_ = 0;  ///< filter
  unsigned overtakings_ = 0;  ///< in a row
  std::optional<Overtaking> overtaken_;
  bool may_overtake_ = false;
  std::vector<std::string> before_;
  bool kept_ = false;
};

}  // namespace metatap::dataplane
