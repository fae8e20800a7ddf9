// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/layout.hpp"
#include "api/pool.hpp"
#include "base/hmac.hpp"
#include "metatap/model.hpp"

namespace metatap::api {

/// One instance as it is served: every body rendered, nothing left to compute but the random seed.
/// Immutable; shared by all workers. Bodies that are equal are kept once: within the instance
/// (three host names, most versions of a file), and across instances through the pool.
class Document {
 public:
  /// `source` is kept, for what is only known at request time (dynamic vendordata). `signature`
  /// is the one an agent must send.
  Document(const Metadata& metadata, std::shared_ptr<const Instance> source,
           const Signature& signature, LayoutCache& layouts, StringPool& pool);

  [[nodiscard]] const std::string& uuid() const { return source_->uuid; }
  [[nodiscard]] const std::string& project_id() const { return source_->project_id; }
  [[nodiscard]] const std::shared_ptr<const Instance>& source() const { return source_; }
  [[nodiscard]] const Instance& instance() const { return *source_; }
  [[nodiscard]] const Signature& signature() const { return signature_; }
  [[nodiscard]] const Layout& layout() const { return *layout_; }
  [[nodiscard]] const std::string& slot(std::size_t index) const { return *slots_[index]; }
  [[nodiscard]] const std::string& password() const { return password_; }
  /// Memory that only this document takes; what the pool or the layout hold is not counted.
  [[nodiscard]] std::size_t bytes() const;

 private:
  void own(std::string text);
  void share(StringPool& pool, std::string text);

  std::shared_ptr<const Instance> source_;
  std::shared_ptr<const Layout> layout_;
  Signature signature_;
  std::string password_;
  std::vector<const std::string*> slots_;
  std::vector<std::unique_ptr<const std::string>> own_;
  std::vector<std::shared_ptr<const std::string>> shared_;
};

}  // namespace metatap::api
