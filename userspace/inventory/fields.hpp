// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inventory/json_reader.hpp"

/// Tables of the keys that the document's objects have. One entry says everything of a key: its
/// name, what its value looks like, what it means, and where it is put. Reading goes by them, and
/// so do the JSON Schema and the manual (schema.hpp).
namespace metatap::json {

struct KeyList;

/// What a value looks like.
struct Shape {
  enum class Kind : std::uint8_t {
    text,
    id,  ///< 1 to 36 printable ASCII characters without blanks and slashes
    integer,
    boolean,
    address,             ///< IPv4 or IPv6
    network,             ///< in CIDR form
    address_or_network,  ///< either
    mac,
    ec2_id,  ///< a prefix and hexadecimal digits
    base64,
    content,  ///< text, base64, or an object that says which: content.hpp
    choice,
    object,
    texts,    ///< an object whose values are strings
    carried,  ///< kept as it is
  };
  Kind kind = Kind::text;
  bool list = false;                      ///< an array of such
  std::int64_t least = 0, most = 0;       ///< integer
  std::vector<std::string_view> choices;  ///< choice
  std::shared_ptr<const KeyList> keys;    ///< object
};

struct Key {
  std::string_view name;
  Shape shape;
  std::string_view note;  ///< what it means, for the manual
  bool required = false;
  bool null_counts = false;  ///< null is a value, not the same as absent
};

/// The keys of one kind of object.
struct KeyList {
  std::vector<Key> keys;
  /// Known from Neutron's or Nova's API; nothing comes of them.
  std::vector<std::string_view> ignored;
};

template <class T>
struct Field {
  Key key;
  std::function<void(const Node&, T&)> read;  ///< may throw Refused
};

template <class T>
struct Keys {
  std::vector<Field<T>> fields;
  std::vector<std::string_view> ignored;
  /// What one key says of another, once all are read; may throw Refused. Null: nothing.
  std::function<void(const Node&, T&)> settle;

  [[nodiscard]] std::shared_ptr<const KeyList> list() const {
    auto made = std::make_shared<KeyList>();
    for (const auto& field : fields) {
      made->keys.push_back(field.key);
    }
    made->ignored = ignored;
    return made;
  }
};

/// Whether an object has that key, and not as null.
inline bool says(const Node& object, const char* key) {
  const auto found = object.json().find(key);
  return found != object.json().end() && !found->is_null();
}

/// The mistake of having a key that nobody knows; names the one that may be meant.
void note_unknown(const Node& object, std::string_view key,
                  const std::vector<std::string_view>& known);

/// Reads an object by its table, in the table's order; mistakes are noted, and what is good is put
/// in place all the same.
template <class T>
void read_object(const Node& node, const Keys<T>& keys, T& into) {
  node.expect(node.json().is_object(), "an object");
  auto& mistakes = node.reading().mistakes;
  const auto& members = node.json().template get_ref<const Json::object_t&>();
  std::vector<std::string_view> known;
  for (const auto& [key, read] : keys.fields) {
    known.push_back(key.name);
    const auto found = std::find_if(members.begin(), members.end(),
                                    [&](const auto& member) { return member.first == key.name; });
    if (found != members.end() && (!found->second.is_null() || key.null_counts)) {
      mistakes.note([&] { read(Node(found->second, node, found->first), into); });
    } else if (key.required) {
      mistakes.add(node.pointer(), in_quotes(key.name) + " is required");
    }
  }
  for (const auto& [name, value] : members) {
    if (std::find(known.begin(), known.end(), name) == known.end() &&
        std::find(keys.ignored.begin(), keys.ignored.end(), name) == keys.ignored.end()) {
      note_unknown(node, name, known);
    }
  }
  if (keys.settle) {
    mistakes.note([&] { keys.settle(node, into); });
  }
}

template <class T>
std::shared_ptr<T> read(const Node& node, const Keys<T>& keys) {
  auto object = std::make_shared<T>();
  read_object(node, keys, *object);
  return object;
}

// Values, each in its canonical spelling; a Refused where it is none.
std::string id_of(const Node& node);
std::string address_of(const Node& node);
std::string network_of(const Node& node);             ///< host bits as they are
std::string address_or_network_of(const Node& node);  ///< a network with its host bits as they are
std::string mac_of(const Node& node);
std::string base64_of(const Node& node);  ///< with blanks taken out
std::string ec2_id_of(const Node& node, std::string_view prefix);
std::string choice_of(const Node& node, const std::vector<std::string_view>& choices);
/// 4 or 6, of an address or a network in its canonical spelling.
int family_of(std::string_view address);

// Entries of a table. `Member` is the member that the value is put in.

template <class T>
struct MemberOf;
template <class C, class V>
struct MemberOf<V C::*> {
  using Class = C;
  using Value = V;
};
template <auto Member>
using ClassOf = typename MemberOf<decltype(Member)>::Class;

enum class Need : std::uint8_t { optional, required };

template <class V>
std::vector<V>& begun(std::vector<V>& list) {
  return list;
}
template <class V>
std::vector<V>& begun(std::optional<std::vector<V>>& list) {
  return list.emplace();
}

/// An entry whose value is what `value_of` makes of it.
template <auto Member, class F>
Field<ClassOf<Member>> field(std::string_view name, Shape shape, std::string_view note, Need need,
                             F value_of) {
  return {{name, std::move(shape), note, need == Need::required},
          [value_of](const Node& at, ClassOf<Member>& into) { into.*Member = value_of(at); }};
}
/// The same for a list of such values. An empty one is not the same as none where the member is an
/// optional.
template <auto Member, class F>
Field<ClassOf<Member>> list(std::string_view name, Shape shape, std::string_view note, F value_of) {
  shape.list = true;
  return {{name, std::move(shape), note}, [value_of](const Node& at, ClassOf<Member>& into) {
            auto& items = begun(into.*Member);
            at.each([&](const Node& item) { items.push_back(value_of(item)); });
          }};
}
template <auto Member>
auto text(std::string_view name, std::string_view note, Need need = Need::optional) {
  return field<Member>(name, {Shape::Kind::text}, note, need,
                       [](const Node& at) { return at.text(); });
}
template <auto Member>
auto texts(std::string_view name, std::string_view note) {
  return list<Member>(name, {Shape::Kind::text}, note, [](const Node& at) { return at.text(); });
}
template <auto Member>
auto id(std::string_view name, std::string_view note, Need need = Need::optional) {
  return field<Member>(name, {Shape::Kind::id}, note, need, id_of);
}
template <auto Member>
auto boolean(std::string_view name, std::string_view note) {
  return field<Member>(name, {Shape::Kind::boolean}, note, Need::optional,
                       [](const Node& at) { return at.boolean(); });
}
template <auto Member>
auto integer(std::string_view name, int least, int most, std::string_view note) {
  Shape shape{Shape::Kind::integer};
  shape.least = least;
  shape.most = most;
  return field<Member>(name, std::move(shape), note, Need::optional, [least, most](const Node& at) {
    return static_cast<int>(at.integer(least, most));
  });
}
template <auto Member>
auto address(std::string_view name, std::string_view note, Need need = Need::optional) {
  return field<Member>(name, {Shape::Kind::address}, note, need, address_of);
}
template <auto Member>
auto mac(std::string_view name, std::string_view note, Need need = Need::optional) {
  return field<Member>(name, {Shape::Kind::mac}, note, need, mac_of);
}
template <auto Member>
auto choice(std::string_view name, std::vector<std::string_view> choices, std::string_view note,
            Need need = Need::optional) {
  Shape shape{Shape::Kind::choice};
  shape.choices = choices;
  return field<Member>(name, std::move(shape), note, need,
                       [choices](const Node& at) { return choice_of(at, choices); });
}
/// One of several words for a value of an enumeration; the first is the default.
template <auto Member, class E>
auto option(std::string_view name, std::vector<std::pair<std::string_view, E>> values,
            std::string_view note) {
  Shape shape{Shape::Kind::choice};
  for (const auto& [word, value] : values) {
    shape.choices.push_back(word);
  }
  auto choices = shape.choices;
  return field<Member>(name, std::move(shape), note, Need::optional,
                       [choices, values](const Node& at) {
                         const auto word = choice_of(at, choices);
                         return std::find_if(values.begin(), values.end(),
                                             [&](const auto& each) { return each.first == word; })
                             ->second;
                       });
}
/// An object with keys of its own.
template <auto Member, class V>
Field<ClassOf<Member>> object(std::string_view name, const Keys<V>& keys, std::string_view note) {
  Shape shape{Shape::Kind::object};
  shape.keys = keys.list();
  return {{name, std::move(shape), note},
          [&keys](const Node& at, ClassOf<Member>& into) { read_object(at, keys, into.*Member); }};
}
/// A list of such. An empty one is not the same as none where the member is an optional.
template <auto Member, class V>
Field<ClassOf<Member>> objects(std::string_view name, const Keys<V>& keys, std::string_view note) {
  Shape shape{Shape::Kind::object, true};
  shape.keys = keys.list();
  return {{name, std::move(shape), note}, [&keys](const Node& at, ClassOf<Member>& into) {
            std::vector<V>& items = begun(into.*Member);
            at.each([&](const Node& item) {
              const auto& mistakes = item.reading().mistakes;
              const auto before = mistakes.count();
              V value;
              read_object(item, keys, value);
              if (mistakes.count() == before) {
                items.push_back(std::move(value));
              }
            });
          }};
}
/// An entry that does with its value what it likes.
template <class T, class F>
Field<T> special(std::string_view name, Shape shape, std::string_view note, F read) {
  return {{name, std::move(shape), note}, std::move(read)};
}
/// An entry of a part's table as one of the whole's.
template <auto Member, class V>
Field<ClassOf<Member>> within(const Field<V>& part) {
  return {part.key,
          [read = part.read](const Node& at, ClassOf<Member>& into) { read(at, into.*Member); }};
}

}  // namespace metatap::json
