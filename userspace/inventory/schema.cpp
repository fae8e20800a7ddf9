// SPDX-License-Identifier: Apache-2.0
#include "inventory/schema.hpp"

#include <nlohmann/json.hpp>
#include <string_view>

#include "inventory/document_keys.hpp"

namespace metatap {
namespace {

using json::Json;
using json::Key;
using json::KeyList;
using json::Shape;
using Kind = json::Shape::Kind;

Json schema_of(const KeyList& list);

Json text_like(const char* pattern) {
  return {{"type", "string"}, {"pattern", pattern}};
}

Json content_schema() {
  const auto one = [](const char* key) {
    return Json{{"type", "object"},
                {"properties", {{key, {{"type", "string"}}}}},
                {"required", Json::array({key})},
                {"additionalProperties", false}};
  };
  return {{"anyOf", Json::array({{{"type", "string"}}, one("text"), one("base64"), one("file")})}};
}

Json schema_of_one(const Shape& shape) {
  switch (shape.kind) {
    case Kind::text:
      return {{"type", "string"}};
    case Kind::id:
      return text_like("^[!-.0-~]{1,36}$");
    case Kind::integer:
      return {{"type", "integer"}, {"minimum", shape.least}, {"maximum", shape.most}};
    case Kind::boolean:
      return {{"type", "boolean"}};
    case Kind::address:
      return text_like("^[0-9A-Fa-f:.]+$");
    case Kind::network:
      return text_like("^[0-9A-Fa-f:.]+/[0-9]+$");
    case Kind::address_or_network:
      return text_like("^[0-9A-Fa-f:.]+(/[0-9]+)?$");
    case Kind::mac:
      return text_like("^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$");
    case Kind::ec2_id:
      return text_like("^[a-z]+-[0-9a-f]{8,17}$");
    case Kind::base64:
      return text_like("^[A-Za-z0-9+/=\\s]*$");
    case Kind::content:
      return content_schema();
    case Kind::choice:
      return {{"enum", shape.choices}};
    case Kind::object:
      return schema_of(*shape.keys);
    case Kind::texts:
      return {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
    case Kind::carried:
      return Json::object();
  }
  return Json::object();
}

/// Null is as good as absent; where it is not, it is a value.
Json schema_of_key(const Key& key) {
  Json value = schema_of_one(key.shape);
  if (key.shape.list) {
    value = {{"type", "array"}, {"items", std::move(value)}};
  }
  if (!key.required && !value.empty()) {
    value = {{"anyOf", Json::array({std::move(value), {{"type", "null"}}})}};
  }
  if (!key.note.empty()) {
    value["description"] = key.note;
  }
  return value;
}

Json schema_of(const KeyList& list) {
  Json properties = Json::object(), required = Json::array();
  for (const auto& key : list.keys) {
    properties[std::string(key.name)] = schema_of_key(key);
    if (key.required) {
      required.push_back(key.name);
    }
  }
  for (const auto name : list.ignored) {
    properties[std::string(name)] = true;
  }
  Json schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) {
    schema["required"] = std::move(required);
  }
  schema["additionalProperties"] = false;
  return schema;
}

std::string_view word_for(Kind kind) {
  switch (kind) {
    case Kind::text:
      return "text";
    case Kind::id:
      return "id";
    case Kind::integer:
      return "number";
    case Kind::boolean:
      return "true, false";
    case Kind::address:
      return "address";
    case Kind::network:
      return "network in CIDR form";
    case Kind::address_or_network:
      return "address, or network in CIDR form";
    case Kind::mac:
      return "MAC";
    case Kind::ec2_id:
      return "EC2 id";
    case Kind::base64:
      return "base64";
    case Kind::content:
      return "text, base64, or an object that says which";
    case Kind::choice:
    case Kind::object:
      return "object";
    case Kind::texts:
      return "object of texts";
    case Kind::carried:
      return "as Nova has it";
  }
  return "";
}

std::string value_of(const Shape& shape) {
  std::string text(word_for(shape.kind));
  if (shape.kind == Kind::choice) {
    text.clear();
    for (const auto choice : shape.choices) {
      text += (text.empty() ? "`" : ", `") + std::string(choice) + "`";
    }
  } else if (shape.kind == Kind::integer && shape.most != INT32_MAX) {
    text = std::to_string(shape.least) + " to " + std::to_string(shape.most);
  }
  return shape.list ? "list: " + text : text;
}

void add_rows(std::string& out, const KeyList& list, const std::string& prefix) {
  for (const auto& key : list.keys) {
    const auto name = prefix + std::string(key.name);
    out += "| `" + name + "`" + (key.required ? " ●" : "") + " | " + value_of(key.shape) + " | " +
           std::string(key.note) + " |\n";
    if (key.shape.keys) {
      add_rows(out, *key.shape.keys, name + (key.shape.list ? "[]." : "."));
    }
  }
}

}  // namespace

std::string document_schema() {
  Json schema{{"$schema", "http://json-schema.org/draft-07/schema#"},
              {"title", "metatap-inventory/1"}};
  schema.update(schema_of(document_keys()));
  schema["required"] = Json::array({"format"});
  return schema.dump(1) + "\n";
}

std::string document_manual() {
  std::string out;
  for (const auto& table : document_keys().keys) {
    if (!table.shape.keys) {
      continue;
    }
    out += "### `" + std::string(table.name) + "`\n\n" + std::string(table.note) +
           ".\n\n| key | value | meaning |\n|---|---|---|\n";
    add_rows(out, *table.shape.keys, "");
    if (!table.shape.keys->ignored.empty()) {
      out += "\nKnown, and nothing comes of them:";
      for (const auto name : table.shape.keys->ignored) {
        out += " `" + std::string(name) + "`";
      }
      out += ".\n";
    }
    out += "\n";
  }
  return out;
}

}  // namespace metatap
