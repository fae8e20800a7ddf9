// SPDX-License-Identifier: Apache-2.0
#include "base/misspelt.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/spelling.hpp"

namespace metatap {
namespace {

struct Judgement {
  bool wrong = false;  ///< nobody but us could have meant something by it
  std::string meant;   ///< to be put behind a sentence; may be empty
};

const OptionSection* section_of(const Vocabulary& known, std::string_view group) {
  const auto found = std::ranges::find(known.sections, group, &OptionSection::name);
  return found == known.sections.end() ? nullptr : &*found;
}

std::string did_you_mean(const std::string& word) {
  return "; did you mean " + word + "?";
}

Judgement of_section(const std::string& group, const Vocabulary& known) {
  std::vector<std::string> names;
  for (const auto& section : known.sections) {
    names.emplace_back(section.name);
  }
  const auto meant = meant_word(group, names);
  return meant ? Judgement{section_of(known, *meant)->ours, did_you_mean("[" + *meant + "]")}
               : Judgement{};
}

Judgement judge(const Config::Setting& setting, const Vocabulary& known) {
  const auto* section = section_of(known, setting.group);
  if (section == nullptr) {
    return of_section(setting.group, known);
  }
  std::vector<std::string> names;
  std::string elsewhere;
  for (const auto& option : known.options) {
    if (option.group == setting.group) {
      names.push_back(option.name);
    } else if (option.name == setting.name && elsewhere.empty()) {
      elsewhere = "[" + option.group + "] " + option.name;
    }
  }
  if (std::ranges::find(names, setting.name) != names.end()) {
    return {};  // of a part that does not run here
  }
  if (const auto meant = meant_word(setting.name, names)) {
    return {section->ours, did_you_mean(*meant)};
  }
  return {section->ours, elsewhere.empty() ? "" : did_you_mean(elsewhere)};
}

}  // namespace

Status refuse_misspelt(const Config& config, const Vocabulary& known) {
  for (const auto& setting : config.unread()) {
    if (const auto judgement = judge(setting, known); judgement.wrong) {
      return fail(ErrorCode::invalid, setting.where + ": [" + setting.group + "] " + setting.name +
                                          ": there is no such option" + judgement.meant);
    }
  }
  return {};
}

void note_unread(const Config& config, const Vocabulary& known) {
  for (const auto& setting : config.unread()) {
    log::info("config {}: [{}] {} is not an option of the parts that run here{}", setting.where,
              setting.group, setting.name, judge(setting, known).meant);
  }
}

}  // namespace metatap
