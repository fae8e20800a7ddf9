// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "admin/registry.hpp"

/// What `metatap explain` has to say, one stage after the other, and what of it matters. Values:
/// no kernel and no other process in here.
namespace metatap::apps {

class Explanation {
 public:
  enum class Verdict : std::uint8_t {
    good,
    note,  ///< worth knowing; a request is answered all the same
    bad,   ///< a request ends here
  };
  void good(std::string_view stage, std::string what) {
    add(Verdict::good, stage, std::move(what));
  }
  void note(std::string_view stage, std::string what, std::string advice = {}) {
    add(Verdict::note, stage, std::move(what), std::move(advice));
  }
  void bad(std::string_view stage, std::string what, std::string advice) {
    add(Verdict::bad, stage, std::move(what), std::move(advice));
  }

  [[nodiscard]] bool healthy() const;
  /// `healthy`, `stages`, and of the first that is bad `because` and `advice`.
  [[nodiscard]] admin::Json json() const;

 private:
  struct Stage {
    Verdict verdict;
    std::string stage, what, advice;
  };
  void add(Verdict verdict, std::string_view stage, std::string what, std::string advice = {}) {
    stages_.push_back({verdict, std::string(stage), std::move(what), std::move(advice)});
  }
  std::vector<Stage> stages_;
};

/// The stages that the data plane's answer (data_plane_views.hpp) is about. `now`: seconds since
/// 1970.
void explain_device(Explanation& explanation, const admin::Json& place);
void explain_packets_of(Explanation& explanation, const admin::Json& place, std::int64_t now);

/// What to do about a packet that programs dropped or passed on for that reason; empty: nothing
/// special.
[[nodiscard]] std::string advice_for_reason(std::string_view reason);

/// A status that stands where 200 should, of the agent's or API's answer.
struct StatusMeaning {
  std::string what, advice;
};
[[nodiscard]] StatusMeaning meaning_of(unsigned status);

}  // namespace metatap::apps
