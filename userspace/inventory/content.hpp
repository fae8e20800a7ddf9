// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "inventory/json_reader.hpp"

namespace metatap::json {

/// User data and the like. A string is the text itself if it begins as such texts do (`#`, `{`,
/// `<`, `Content-Type:`, `MIME-Version:`), none of which base64 can, and base64 otherwise.
/// {"text": …}, {"base64": …} and {"file": PATH} say which it is; a file is read now, and its bytes
/// are the content.
struct Content {
  std::string bytes;
  std::string base64;  ///< of these; as the document has it where it has it, without its blanks
};
[[nodiscard]] Content content_of(const Node& node);

/// The same of what can only be text. Refused where it is not UTF-8.
[[nodiscard]] std::string text_content_of(const Node& node);

}  // namespace metatap::json
