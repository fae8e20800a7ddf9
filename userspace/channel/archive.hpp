// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// Values as bytes and back. A struct says once what it is made of, for both directions:
///
///     void fields(auto& archive, Is<Thing> auto& thing) { archive(thing.name, thing.number); }
///
/// Both ends are one machine, so numbers are as they are in memory. What is read is believed in
/// nothing: lengths are held against what is left, enums against their last value.
namespace metatap::channel {

template <class T, class U>
concept Is = std::same_as<std::remove_const_t<T>, U>;

class Writer {
 public:
  template <class... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }
  [[nodiscard]] std::string take() { return std::move(out_); }

 private:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    } else {
      fields(*this, value);
    }
  }
  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    out_ += text;
  }
  template <std::size_t N>
  void put(const std::array<std::uint8_t, N>& bytes) {
    out_.append(reinterpret_cast<const char*>(bytes.data()), N);
  }
  template <class T>
  void put(const std::optional<T>& value) {
    put(value.has_value());
    if (value) {
      put(*value);
    }
  }
  template <class T>
  void put(const std::vector<T>& values) {
    put(static_cast<std::uint32_t>(values.size()));
    for (const auto& value : values) {
      put(value);
    }
  }
  std::string out_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }
  /// Was everything there, and nothing more?
  [[nodiscard]] bool whole() const { return good_ && left_.empty(); }

 private:
  template <class T>
  void get(T& value) {
    if constexpr (std::same_as<T, bool>) {
      std::uint8_t byte = 0;
      get(byte);
      good_ = good_ && byte <= 1;
      value = byte == 1;
    } else if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> number{};
      get(number);
      const auto last = static_cast<std::underlying_type_t<T>>(last_of(T{}));
      good_ = good_ && number >= 0 && number <= last;
      value = good_ ? static_cast<T>(number) : T{};
    } else if constexpr (std::is_arithmetic_v<T>) {
      copy(&value, sizeof(value));
    } else {
      fields(*this, value);
    }
  }
  void get(std::string& text) {
    std::uint32_t size = 0;
    get(size);
    if (good_ = good_ && size <= left_.size(); good_) {
      text.assign(left_.substr(0, size));
      left_.remove_prefix(size);
    }
  }
  template <std::size_t N>
  void get(std::array<std::uint8_t, N>& bytes) {
    copy(bytes.data(), N);
  }
  template <class T>
  void get(std::optional<T>& value) {
    bool there = false;
    get(there);
    value.reset();
    if (there && good_) {
      get(value.emplace());
    }
  }
  template <class T>
  void get(std::vector<T>& values) {
    std::uint32_t size = 0;
    get(size);
    good_ = good_ && size <= left_.size();  // each takes a byte at least
    values.clear();
    while (good_ && values.size() < size) {
      get(values.emplace_back());
    }
  }
  void copy(void* to, std::size_t size) {
    if (good_ = good_ && size <= left_.size(); good_) {
      std::memcpy(to, left_.data(), size);
      left_.remove_prefix(size);
    }
  }
  std::string_view left_;
  bool good_ = true;
};

template <class T>
[[nodiscard]] std::string to_bytes(const T& value) {
  Writer writer;
  writer(value);
  return writer.take();
}

/// nullopt: the bytes are no such value.
template <class T>
[[nodiscard]] std::optional<T> from_bytes(std::string_view bytes) {
  Reader reader(bytes);
  T value{};
  reader(value);
  return reader.whole() ? std::optional<T>(std::move(value)) : std::nullopt;
}

}  // namespace metatap::channel
