// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf_map.hpp"

#include <bpf/bpf.h>

#include <cerrno>

namespace metatap::dataplane {
namespace {

class KernelMap final : public MapRows {
 public:
  KernelMap(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  Status put(const void* key, const void* value) override {
    if (::bpf_map_update_elem(fd_, key, value, BPF_ANY) != 0) {
      return fail_errno(errno, "write " + name_);
    }
    return {};
  }
  Result<bool> get(const void* key, void* value) const override {
    return found(::bpf_map_lookup_elem(fd_, key, value), "read ");
  }
  Result<bool> erase(const void* key) override {
    return found(::bpf_map_delete_elem(fd_, key), "erase from ");
  }
  Result<bool> next(const void* previous, void* key) const override {
    return found(::bpf_map_get_next_key(fd_, previous, key), "walk ");
  }

 private:
  [[nodiscard]] Result<bool> found(int result, const char* step) const {
    if (result == 0) {
      return true;
    }
    if (errno == ENOENT) {
      return false;
    }
    return fail_errno(errno, step + name_);
  }

  int fd_;
  std::string name_;
};

}  // namespace

std::shared_ptr<MapRows> kernel_map(int fd, std::string name) {
  return std::make_shared<KernelMap>(fd, std::move(name));
}

}  // namespace metatap::dataplane
