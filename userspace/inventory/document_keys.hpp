// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/fields.hpp"

namespace metatap {

/// All keys that a document may have, at every depth: what its JSON Schema and its manual are made
/// of.
const json::KeyList& document_keys();

}  // namespace metatap
