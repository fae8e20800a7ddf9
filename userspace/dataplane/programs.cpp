// SPDX-License-Identifier: Apache-2.0
#include "dataplane/programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "dataplane/abi_text.hpp"
#include "dataplane/kernel.hpp"
#include "metatap_bpf.skel.h"
#include "sys/bpffs.hpp"
#include "sys/caps.hpp"
#include "sys/lock.hpp"

namespace metatap::dataplane {
namespace {

namespace fs = std::filesystem;

std::string_view end_of(std::string_view text, std::size_t length) {
  return text.substr(text.size() - std::min(text.size(), length));
}

/// What libbpf has complained of on this thread since it was emptied: a function is all that libbpf
/// tells its errors to. A verifier's log comes as one piece, may be megabytes long, and has the
/// cause at its end.
thread_local std::string complaints;

int print_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) {
    return 0;
  }
  va_list again;
  va_copy(again, arguments);
  std::string text(static_cast<std::size_t>(std::max(0, std::vsnprintf(nullptr, 0, format, again))),
                   '\0');
  va_end(again);
  std::vsnprintf(text.data(), text.size() + 1, format, arguments);
  constexpr std::size_t kLongest = 4096;
  log::debug("libbpf: {}", trimmed(end_of(text, kLongest)));
  if (level == LIBBPF_WARN) {
    complaints += text;
  }
  return 0;
}

/// Is what is pinned there what this program would create?
bool same_layout(const fs::path& pin, const bpf_map* wanted) {
  const UniqueFd pinned(::bpf_obj_get(pin.c_str()));
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  return pinned && ::bpf_obj_get_info_by_fd(pinned.get(), &info, &size) == 0 &&
         info.type == static_cast<std::uint32_t>(bpf_map__type(wanted)) &&
         info.key_size == bpf_map__key_size(wanted) &&
         info.value_size == bpf_map__value_size(wanted) &&
         info.max_entries == bpf_map__max_entries(wanted) &&
         info.map_flags == bpf_map__map_flags(wanted);
}

/// The ABI version of the maps pinned there; 0: none.
std::uint32_t pinned_version(const fs::path& pin) {
  const UniqueFd pinned(::bpf_obj_get(pin.c_str()));
  bpf_map_info info{};
  std::uint32_t size = sizeof(info);
  if (!pinned || ::bpf_obj_get_info_by_fd(pinned.get(), &info, &size) != 0 ||
      info.value_size < sizeof(std::uint32_t)) {
    return 0;
  }
  std::vector<char> value(info.value_size);
  const std::uint32_t zero = 0;
  std::uint32_t version = 0;
  if (::bpf_map_lookup_elem(pinned.get(), &zero, value.data()) == 0) {
    std::memcpy(&version, value.data(), sizeof(version));
  }
  return version;
}

/// For whoever reads the maps with bpftool.
Status write_reason_names(const Maps& maps) {
  for (std::uint32_t number = 0; number < reasons().size(); ++number) {
    mt_reason_name row{};
    copy_text(row.outcome, reasons()[number].outcome);
    copy_text(row.name, reasons()[number].name);
    if (auto written = maps.reason_names.put(number, row); !written) {
      return written;
    }
  }
  return {};
}

/// Has the kernel check the programs and make the maps.
Status load_into_kernel(metatap_bpf* skeleton) {
  complaints.clear();
  const int error = metatap_bpf__load(skeleton);
  const auto said = std::exchange(complaints, {});
  return error == 0 ? Status() : tl::make_unexpected(not_loaded(-error, said));
}

void remove_pins(const fs::path& directory) {
  std::error_code error;
  fs::remove_all(directory / "links", error);
  std::vector<fs::path> pins;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with("mt_")) {
      pins.push_back(it->path());
    }
  }
  for (const auto& pin : pins) {
    fs::remove(pin, error);
  }
}

}  // namespace

const std::vector<ReasonInfo>& reasons() {
  static const std::vector<ReasonInfo> kReasons = {
#define MT_REASON(name, text, kind) {#name, text, #kind},
#include "metatap/abi/reasons.def"
#undef MT_REASON
  };
  return kReasons;
}

void Programs::Destroy::operator()(metatap_bpf* skeleton) const {
  metatap_bpf__destroy(skeleton);
}

Programs::~Programs() = default;

Status Programs::probe() {
  if (const auto missing =
          sys::missing_capabilities({CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN});
      !missing.empty()) {
    std::string names;
    for (const auto& name : missing) {
      names += (names.empty() ? "" : ", ") + name;
    }
    return fail(ErrorCode::denied,
                "steering by BPF needs the capabilities CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and "
                "CAP_SYS_ADMIN; missing: " +
                    names + " (run as root, or use --steering=listen)");
  }
  // return 0
  const std::array<bpf_insn, 2> nothing = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
                                           bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  const UniqueFd program(::bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mt_probe", "GPL", nothing.data(),
                                         nothing.size(), nullptr));
  if (!program) {
    const int error = errno;
    return tl::make_unexpected(
        Error{error == ENOSYS || error == EINVAL ? ErrorCode::unsupported : ErrorCode::denied,
              "steering by BPF: " + kernel_name() + " refuses to load a TC program (" +
                  std::generic_category().message(error) +
                  "); it lacks BPF or forbids it here; use --steering=listen"});
  }
  return {};
}

Status Programs::try_load() {
  libbpf_set_print(print_libbpf);
  const std::unique_ptr<metatap_bpf, Destroy> skeleton(metatap_bpf__open());
  return skeleton ? load_into_kernel(skeleton.get()) : fail_errno(errno, "open the BPF programs");
}

Result<std::unique_ptr<Programs>> Programs::load(const DataPlaneOptions& options, bool in_use) {
  if (auto ready = sys::ensure_bpffs(options.pin_path); !ready) {
    return tl::make_unexpected(std::move(ready.error()).in("load BPF programs"));
  }
  std::unique_ptr<Programs> programs(new Programs(options.pin_path));
  const auto& pin_path = programs->pin_path_;
  auto lock = sys::lock_path(pin_path, "[dataplane] pin_path");
  if (!lock) {
    return tl::make_unexpected(std::move(lock.error()));
  }
  programs->lock_ = *std::move(lock);
  libbpf_set_print(print_libbpf);
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  ::setrlimit(RLIMIT_MEMLOCK, &unlimited);  // kernels before 5.11

  programs->skeleton_.reset(metatap_bpf__open());
  auto* skeleton = programs->skeleton_.get();
  if (skeleton == nullptr) {
    return fail_errno(errno, "open the BPF programs");
  }
  std::ranges::fill(skeleton->rodata->mt_first_hops, 0);
  for (const auto hops : options.first_hops) {
    skeleton->rodata->mt_first_hops[hops / 64] |= std::uint64_t{1} << hops % 64;
  }
  const auto version = pinned_version(pin_path / "mt_config");
  if (version > MT_ABI_VERSION) {
    return fail(ErrorCode::unsupported,
                "the maps under " + pin_path.string() + " are of a newer metatap (layout " +
                    std::to_string(version) + ", this one knows " + std::to_string(MT_ABI_VERSION) +
                    "): run that one, or remove the directory");
  }
  bool reusable = version == MT_ABI_VERSION;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string name = bpf_map__name(map);
    if (!name.starts_with("mt_")) {
      continue;
    }
    if (const auto rows = rows_of(name, options.slots); rows != 0) {
      bpf_map__set_max_entries(map, rows);
    }
    if (bpf_map__type(map) == BPF_MAP_TYPE_DEVMAP) {
      continue;
    }
    const auto pin = pin_path / name;
    if (bpf_map__set_pin_path(map, pin.c_str()) != 0) {
      return fail_errno(errno, "pin " + pin.string());
    }
    std::error_code error;
    reusable = reusable && (!fs::exists(pin, error) || same_layout(pin, map));
  }
  if (!reusable && in_use) {
    return fail(ErrorCode::unsupported,
                "the maps under " + pin_path.string() + " are not laid out as ours (layout " +
                    std::to_string(version) + ", this one has " + std::to_string(MT_ABI_VERSION) +
                    ", or other [dataplane] slots)");
  }
  programs->inherited_ = reusable;
  if (!reusable) {
    remove_pins(pin_path);
  }
  if (auto loaded = load_into_kernel(skeleton); !loaded) {
    return tl::make_unexpected(std::move(loaded.error()));
  }
  programs->maps_.emplace([&](std::string_view name, std::size_t key_size, std::size_t value_size) {
    const auto* found = bpf_object__find_map_by_name(skeleton->obj, std::string(name).c_str());
    // Of another size it would write beyond what it was given: it then has no descriptor at all.
    const bool fits = found != nullptr && bpf_map__key_size(found) == key_size &&
                      bpf_map__value_size(found) == value_size;
    return kernel_map(fits ? bpf_map__fd(found) : -1, std::string(name));
  });
  if (auto written = write_reason_names(programs->maps()); !written) {
    return tl::make_unexpected(std::move(written.error()));
  }
  std::error_code error;
  fs::create_directories(programs->links_path(), error);
  if (error) {
    return fail_errno(error.value(), "create " + programs->links_path().string());
  }
  return programs;
}

int Programs::program(std::string_view name) const {
  const auto* found = bpf_object__find_program_by_name(skeleton_->obj, std::string(name).c_str());
  return found == nullptr ? -1 : bpf_program__fd(found);
}

int Programs::map(std::string_view name) const {
  return bpf_object__find_map_fd_by_name(skeleton_->obj, std::string(name).c_str());
}

std::vector<std::string> Programs::missing_pins() const {
  std::vector<std::string> missing;
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    std::error_code error;
    if (const char* const pin = bpf_map__pin_path(map); pin != nullptr && !fs::exists(pin, error)) {
      missing.emplace_back(bpf_map__name(map));
    }
  }
  return missing;
}

Result<mt_config> Programs::config() const {
  const auto config = maps_->config.get(0);
  if (!config) {
    return tl::make_unexpected(config.error());
  }
  return config->value_or(mt_config{});
}

Status Programs::set_config(const mt_config& config) {
  return maps_->config.put(0, config);
}

std::uint64_t Programs::events_lost() const {
  return *const_cast<const volatile __u64*>(&skeleton_->bss->mt_events_lost);
}

std::uint16_t Programs::probe_answered(int family) const {
  return *static_cast<const volatile std::uint16_t*>(
      &skeleton_->bss->mt_probe_answered[family == AF_INET ? 0 : 1]);
}

std::vector<ReasonStatus> count_reasons(const Programs& programs) {
  const int cpus = libbpf_num_possible_cpus();
  std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(std::max(cpus, 1)));
  std::vector<ReasonStatus> all;
  for (std::uint32_t reason = 0; reason < MT_REASONS; ++reason) {
    const auto& info = reasons()[reason];
    ReasonStatus status{std::string(info.name), std::string(info.text), std::string(info.outcome),
                        0};
    if (::bpf_map_lookup_elem(programs.map("mt_reasons"), &reason, per_cpu.data()) == 0) {
      status.packets = std::accumulate(per_cpu.begin(), per_cpu.end(), std::uint64_t{0});
    }
    all.push_back(std::move(status));
  }
  return all;
}

void Programs::unpin_links() {
  std::error_code error;
  for (std::filesystem::directory_iterator it(links_path(), error), end; !error && it != end;) {
    const auto pin = it->path();
    it.increment(error);
    std::error_code gone;
    fs::remove(pin, gone);
  }
}

void Programs::unpin() {
  remove_pins(pin_path_);
  std::error_code error;
  fs::remove(pin_path_, error);
}

}  // namespace metatap::dataplane
