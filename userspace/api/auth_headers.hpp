// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/ascii.hpp"
#include "metatap/exchange.hpp"

namespace metatap::api {

/// The headers that say who asks, found in one pass.
struct AuthHeaders {
  struct Field {
    std::optional<std::string_view> value;
    unsigned count = 0;
    void take(std::string_view text) {
      if (++count == 1) {
        value = text;
      }
    }
  };
  Field instance, tenant, signature, forwarded, provider, provider_signature;

  explicit AuthHeaders(std::span<const Header> headers) {
    for (const Header& header : headers) {
      switch (header.name.size()) {
        case 11:
          pick(header, "X-Tenant-ID", tenant);
          break;
        case 13:
          pick(header, "X-Instance-ID", instance);
          break;
        case 15:
          pick(header, "X-Forwarded-For", forwarded);
          break;
        case 19:
          pick(header, "X-Metadata-Provider", provider);
          break;
        case 23:
          pick(header, "X-Instance-ID-Signature", signature);
          break;
        case 29:
          pick(header, "X-Metadata-Provider-Signature", provider_signature);
          break;
        default:
          break;
      }
    }
  }

 private:
  static void pick(const Header& header, std::string_view name, Field& field) {
    if (header.name == name || iequals(header.name, name)) {
      field.take(header.value);
    }
  }
};

}  // namespace metatap::api
