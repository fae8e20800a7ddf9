// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "dataplane/maps.hpp"
#include "unit/dataplane/fake_map.hpp"

namespace metatap::dataplane {

/// All maps of the data plane, in memory.
class FakeMaps {
 public:
  FakeMaps()
      : maps([this](std::string_view name, std::size_t key_size, std::size_t value_size) {
          return rows_[std::string(name)] = std::make_shared<FakeMap>(key_size, value_size);
        }) {}

  [[nodiscard]] FakeMap& rows(const std::string& name) { return *rows_.at(name); }
  [[nodiscard]] std::shared_ptr<FakeMap> shared(const std::string& name) { return rows_.at(name); }

 private:
  std::map<std::string, std::shared_ptr<FakeMap>> rows_;

 public:
  Maps maps;
};

}  // namespace metatap::dataplane
