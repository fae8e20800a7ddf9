// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "inventory/port_index.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// The inventory document, `metatap-inventory/1`: one JSON text that holds everything. Reading is
/// strict: an unknown or repeated key, a wrong type, an address that is none, a reference to
/// nothing or a claim made twice is refused with its JSON pointer and the reason, all that there
/// are at once (a line of the error for each), and then nothing of the document is taken.
///
/// read_objects.hpp has the keys of its objects and guest.hpp those of guests in few words;
/// fill_defaults.hpp completes it, check_references.hpp judges the whole, write_document.hpp is the
/// way back, schema.hpp says what it may be.
namespace metatap {

inline constexpr std::string_view kDocumentFormat = "metatap-inventory/1";

/// Brings the bytes of what a document's {"file": PATH} names.
using DocumentFiles = std::function<Result<std::string>(const std::string& path)>;

/// The inventory the document describes, with the defaults of a hand-written one filled in
/// (display_name, hostname, project_id). EC2 and reservation ids are the store's to give.
/// `admin_pass` is accepted and dropped: it is never kept. `files` null: no file may be named.
///
/// Objects that are `stored` already keep what was decided when they came (fill_defaults.hpp).
Result<Inventory> parse_document(std::string_view text, const Inventory& stored = {},
                                 const DocumentFiles& files = nullptr);

/// The mistakes of a document that was refused, for the log and for tables.
std::string on_one_line(std::string mistakes);

/// What to do about an object of the document that is in the base already, and not as it is there.
enum class Existing : std::uint8_t {
  replace,
  refuse,  ///< ErrorCode::conflict
};

/// `base` with the objects of a document put in. The document may leave "format" out, or be the
/// JSON object of one instance or guest, or Nova's answer that has one server. The whole is checked
/// as parse_document checks it, and keeps the revision of `base`. `index`: of the base, so that it
/// costs about the same however large that is.
Result<Inventory> merge_document(const Inventory& base, const PortIndex& index,
                                 std::string_view text, Existing existing = Existing::replace);

}  // namespace metatap
