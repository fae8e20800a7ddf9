// SPDX-License-Identifier: Apache-2.0
#include "importer/clouds_file.hpp"

#include <yaml.h>

#include <memory>

namespace metatap::importer {
namespace {

struct ParserDelete {
  void operator()(yaml_parser_t* parser) const {
    ::yaml_parser_delete(parser);
    delete parser;
  }
};
struct DocumentDelete {
  void operator()(yaml_document_t* document) const {
    ::yaml_document_delete(document);
    delete document;
  }
};
using Document = std::unique_ptr<yaml_document_t, DocumentDelete>;

Result<Document> parse(std::string_view text) {
  std::unique_ptr<yaml_parser_t, ParserDelete> parser(new yaml_parser_t{});
  if (::yaml_parser_initialize(parser.get()) == 0) {
    return fail(ErrorCode::internal, "there is no memory for it");
  }
  // libyaml aborts where an empty text is nowhere.
  const char* const begin = text.empty() ? "" : text.data();
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): libyaml's bytes are unsigned
  const auto* bytes = reinterpret_cast<const unsigned char*>(begin);
  ::yaml_parser_set_input_string(parser.get(), bytes, text.size());
  Document document(new yaml_document_t{});
  if (::yaml_parser_load(parser.get(), document.get()) == 0) {
    return fail(ErrorCode::invalid,
                "line " + std::to_string(parser->problem_mark.line + 1) + ": " +
                    (parser->problem != nullptr ? parser->problem : "it is no YAML"));
  }
  return document;
}

/// A look into a document. Aliases lead back into it, so nothing is ever copied as a whole.
class Look {
 public:
  explicit Look(yaml_document_t& document) : document_(document) {}

  [[nodiscard]] const yaml_node_t* root() const {
    return ::yaml_document_get_root_node(&document_);
  }

  [[nodiscard]] static std::string text(const yaml_node_t* node) {
    if (node == nullptr || node->type != YAML_SCALAR_NODE) {
      return "";
    }
    const auto& scalar = node->data.scalar;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
    std::string value(reinterpret_cast<const char*>(scalar.value), scalar.length);
    const bool null = scalar.style == YAML_PLAIN_SCALAR_STYLE && (value == "null" || value == "~");
    return null ? "" : value;
  }

  /// Calls back with each member of a mapping; those that are merged in (`<<`) come first.
  template <class F>
  void each(const yaml_node_t* node, F&& callback, int depth = 0) const {
    constexpr int kDeepest = 8;
    if (node == nullptr || node->type != YAML_MAPPING_NODE || depth > kDeepest) {
      return;
    }
    const auto& pairs = node->data.mapping.pairs;
    const auto at = [this](int index) { return ::yaml_document_get_node(&document_, index); };
    for (const bool merged : {true, false}) {
      for (const auto* pair = pairs.start; pair < pairs.top; ++pair) {
        const auto key = text(at(pair->key));
        if (key == "<<" && merged) {
          each(at(pair->value), callback, depth + 1);
        } else if (key != "<<" && !merged) {
          callback(key, at(pair->value));
        }
      }
    }
  }

  [[nodiscard]] const yaml_node_t* member(const yaml_node_t* node, std::string_view name) const {
    const yaml_node_t* found = nullptr;
    each(node, [&](const std::string& key, const yaml_node_t* value) {
      if (key == name) {
        found = value;
      }
    });
    return found;
  }

 private:
  yaml_document_t& document_;
};

}  // namespace

Result<std::map<std::string, std::string>> read_cloud(std::string_view text,
                                                      const std::string& cloud) {
  const auto document = parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  const Look look(**document);
  const auto* clouds = look.member(look.root(), "clouds");
  const auto* wanted = look.member(clouds, cloud);
  if (wanted == nullptr || wanted->type != YAML_MAPPING_NODE) {
    std::string names;
    look.each(clouds, [&](const std::string& name, const yaml_node_t*) {
      names += (names.empty() ? "" : ", ") + name;
    });
    return fail(ErrorCode::not_found,
                "there is no cloud '" + cloud + "'" + (names.empty() ? "" : "; there is " + names));
  }
  std::map<std::string, std::string> said;
  const auto put = [&](const std::string& key, const yaml_node_t* value) {
    if (auto single = Look::text(value); !single.empty()) {
      said.insert_or_assign(key, std::move(single));
    }
  };
  look.each(wanted, put);
  look.each(look.member(wanted, "auth"), put);
  return said;
}

}  // namespace metatap::importer
