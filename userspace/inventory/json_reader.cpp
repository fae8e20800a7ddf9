// SPDX-License-Identifier: Apache-2.0
#include "inventory/json_reader.hpp"

#include <algorithm>
#include <string_view>

namespace metatap::json {
namespace {

std::string escaped(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

/// Builds the tree and refuses what nlohmann's own parser lets pass: repeated keys, endless depth.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    auto& members = stack_.back()->get_ref<Json::object_t&>();
    const bool repeated =
        std::ranges::any_of(members, [&](const auto& member) { return member.first == name; });
    if (repeated) {
      error_ = pointer() + "/" + escaped(name) + ": the key is there twice";
      return false;
    }
    members.emplace_back(std::move(name), nullptr);
    return true;
  }
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    std::string_view what = error.what();
    if (const auto end = what.find("] "); end != std::string_view::npos) {
      what.remove_prefix(end + 2);
    }
    error_ = what;
    return false;
  }

  Json root;
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  static constexpr std::size_t kDeepest = 64;

  Json* place(Json value) {
    if (stack_.empty()) {
      root = std::move(value);
      return &root;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& member = parent.get_ref<Json::object_t&>().back().second;
    member = std::move(value);
    return &member;
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (stack_.size() == kDeepest) {
      error_ = pointer() + ": nested too deeply";
      return false;
    }
    stack_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }
  [[nodiscard]] std::string pointer() const {
    std::string way;
    for (std::size_t level = 0; level + 1 < stack_.size(); ++level) {
      const Json& parent = *stack_[level];
      way +=
          "/" + (parent.is_array() ? std::to_string(parent.size() - 1)
                                   : escaped(parent.get_ref<const Json::object_t&>().back().first));
    }
    return way;
  }

  std::vector<Json*> stack_;
  std::string error_;
};

}  // namespace

Result<Json> parse(std::string_view text) {
  Builder builder;
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    return fail(ErrorCode::invalid, builder.error().empty() ? "not JSON" : builder.error());
  }
  return std::move(builder.root);
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 80;
  std::string shown(text.substr(0, kShown));
  if (text.size() > kShown) {
    shown += "…";
  }
  return Json(shown).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Mistakes::add(std::string pointer, std::string reason) {
  constexpr std::size_t kTold = 100;
  if (count_++ < kTold) {
    first_.push_back({std::move(pointer), std::move(reason)});
  }
}

Error Mistakes::error() const {
  std::string text;
  for (const auto& [pointer, reason] : first_) {
    text +=
        (text.empty() ? "" : "\n") + (pointer.empty() ? "the document" : pointer) + ": " + reason;
  }
  if (count_ > first_.size()) {
    text += "\nand " + std::to_string(count_ - first_.size()) + " more mistakes";
  }
  return {ErrorCode::invalid, std::move(text)};
}

std::string Node::pointer() const {
  if (parent_ == nullptr) {
    return "";
  }
  return parent_->pointer() + "/" + (in_array_ ? std::to_string(index_) : escaped(key_));
}

std::string Node::pointer_to(std::string_view key) const {
  return pointer() + "/" + escaped(key);
}

void Node::expect(bool fits, std::string_view what) const {
  if (!fits) {
    refuse("expected " + std::string(what) + ", not " +
           (value_->is_string() ? in_quotes(value_->get_ref<const std::string&>())
                                : std::string(value_->type_name())));
  }
}

const std::string& Node::text() const {
  expect(value_->is_string(), "a string");
  const auto& text = value_->get_ref<const std::string&>();
  if (text.find('\0') != std::string::npos) {
    refuse("a string with a NUL in it");
  }
  return text;
}

std::int64_t Node::integer(std::int64_t min, std::int64_t max) const {
  expect(value_->is_number_integer(), "an integer");
  const bool huge = value_->is_number_unsigned() &&
                    value_->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const auto number = huge ? INT64_MAX : value_->get<std::int64_t>();
  if (huge || number < min || number > max) {
    refuse(value_->dump() + " is not within " + std::to_string(min) + " to " + std::to_string(max));
  }
  return number;
}

bool Node::boolean() const {
  expect(value_->is_boolean(), "true or false");
  return value_->get<bool>();
}

}  // namespace metatap::json
