// SPDX-License-Identifier: Apache-2.0
#include "base/option_text.hpp"

#include <fmt/format.h>

#include <string_view>

namespace metatap {
namespace {

constexpr std::string_view kMarkdownHead = R"(# Configuration

<!-- Made by: metatapd --options markdown >docs/configuration.md; a test compares. -->

metatapd reads INI files in the dialect of oslo.config: `[section]`, `option = value`, lines that begin with
white space go on with the one above, `$option` and `${section.option}` stand for other options' values and `$$`
for a dollar sign. `--config-file` may be repeated, later files win; `--config-dir` names a directory whose
`*.conf` are read after the files, in the order of their names. Without `--config-file`,
`/etc/metatap/metatapd.conf` is read if it exists. Options that Neutron or Nova have are called as they call them,
so that their files can be given to metatapd as they are.

`metatap config show` says which value each option has and where from, without showing secrets.
`metatapd --check` finds what a start would find wrong. An option that is none is an error in a section that is
metatap's alone, and a line in the log in one that Neutron or Nova have too.

An option that is followed at SIGHUP takes effect with `systemctl reload metatapd`. What agent, API, proxy,
inventory and admin socket go by does so as well, where the data plane runs: they are another process
afterwards. The rest takes a restart.
)";

constexpr std::string_view kManualHead = R"(.\" SPDX-License-Identifier: Apache-2.0
.\" Made by: metatapd --options manual >packaging/man/metatapd.conf.5; a test compares.
.Dd January 1, 2026
.Dt METATAPD.CONF 5
.Os metatap
.Sh NAME
.Nm metatapd.conf
.Nd options of metatapd
.Sh DESCRIPTION
.Xr metatapd 8
reads INI files in the dialect of oslo.config.
Options that Neutron or Nova have are called as they call them, so that their files can be given to it
as they are.
.Ql metatap config show
says which value each option has and where from.
)";

constexpr std::string_view kManualEnd = R"(.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/metatap/metatapd.conf
Read if it exists and no other file is named.
.It Pa /etc/metatap/metatapd.conf.d
More of it, read after it.
.El
.Sh SEE ALSO
.Xr metatap 1 ,
.Xr metatapd 8
)";

/// What may stand behind the sign. `code` marks up what is to be written as it is.
template <class F>
std::string values_of(const OptionInfo& option, F&& code) {
  const auto range = [&] {
    return fmt::format("{} to {}{}{}", option.min, option.max, option.unit.empty() ? "" : " ",
                       option.unit);
  };
  switch (option.type) {
    case OptionType::text:
      return "text";
    case OptionType::secret:
      return "text, a secret";
    case OptionType::boolean:
      return code("true") + " or " + code("false");
    case OptionType::integer:
      return range();
    case OptionType::number:
      return range() + ", or a part";
    case OptionType::list:
      return "list, with commas";
    case OptionType::choice:
      break;
  }
  std::string all;
  for (const auto& choice : option.choices) {
    all += (all.empty() ? "" : ", ") + code(choice);
  }
  return all;
}

template <class F>
std::string meaning_of(const OptionInfo& option, F&& code) {
  auto text = option.help + '.';
  if (option.takes == Takes::reload) {
    text += " Followed at SIGHUP.";
  }
  for (const auto& older : option.older) {
    text += " Also read as " + code(older) + ".";
  }
  return text;
}

std::string in_table(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
    text.insert(at, 1, '\\');
  }
  return text;
}

/// Text of a manual page: nothing in it is a request, an escape or a hyphen that is not one.
std::string in_manual(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  }
  return out.starts_with('.') || out.starts_with('\'') ? "\\&" + out : out;
}

}  // namespace

std::string options_as_markdown(std::span<const OptionSection> sections,
                                std::span<const OptionInfo> options) {
  const auto code = [](const std::string& text) { return "`" + text + "`"; };
  std::string all(kMarkdownHead);
  for (const auto& section : sections) {
    all += fmt::format(
        "\n## [{}]\n\n{}\n\n| option | value | default | meaning |\n|---|---|---|---|\n",
        section.name, section.about);
    for (const auto& option : options) {
      if (option.group == section.name) {
        all += fmt::format("| {} | {} | {} | {} |\n", code(option.name),
                           in_table(values_of(option, code)),
                           option.fallback.empty() ? "–" : in_table(code(option.fallback)),
                           in_table(meaning_of(option, code)));
      }
    }
  }
  return all;
}

std::string options_as_manual(std::span<const OptionSection> sections,
                              std::span<const OptionInfo> options) {
  const auto code = [](const std::string& text) { return text; };
  std::string all(kManualHead);
  for (const auto& section : sections) {
    all +=
        fmt::format(".Sh [{}]\n{}\n.Bl -tag -width Ds\n", section.name, in_manual(section.about));
    for (const auto& option : options) {
      if (option.group == section.name) {
        all += fmt::format(
            ".It Cm {}\n{}\n.br\n{}{}\n", option.name, in_manual(meaning_of(option, code)),
            in_manual("Value: " + values_of(option, code) + "."),
            option.fallback.empty() ? "" : "\n.br\n" + in_manual("Default: " + option.fallback));
      }
    }
    all += ".El\n";
  }
  return all.append(kManualEnd);
}

}  // namespace metatap
