// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace metatap {

/// The document as a JSON Schema (draft 7), made of the tables of keys that reading goes by:
/// packaging/metatap-inventory.schema.json. What one key says of another is beyond it.
[[nodiscard]] std::string document_schema();

/// The same tables for people, in Markdown: the part of docs/inventory.md between its marks.
[[nodiscard]] std::string document_manual();

}  // namespace metatap
