// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <string>

#include "base/config.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"
#include "inventory/service.hpp"

namespace metatap {
namespace {

/// Neutron's default for the same option.
std::string name_of_system() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace

Result<InventoryOptions> InventoryOptions::from(const Config& config) {
  InventoryOptions options;
  OptionReader read(config);
  read.secret({"inventory", "database",
               "URL of metatap's own database, sqlite:///PATH or postgresql://…; empty: metatap.db "
               "in state_path"},
              options.database);
  read.seconds({"inventory", "database_timeout",
                "How long the database may take for an answer, and a guest's password for both"},
               options.database_timeout, 1, 600);
  read.text({"DEFAULT", "state_path", "Where state is kept over restarts"}, options.state_path);
  read.text({"inventory", "file",
             "The document that says what there is, applied at start and whenever it changes; "
             "empty: 'metatap apply' and 'metatap instance' say it"},
            options.file);
  using enum InventorySource;
  options.source = options.file ? file : database;
  read.choice({"inventory", "source",
               "What says which guests there are: libvirt, or file (if file is set) or database"},
              options.source, {{"database", database}, {"file", file}, {"libvirt", libvirt}});
  read.require("inventory", "source", (options.source == file) == options.file.has_value(),
               "file, exactly where file is set");
  // Each host would make it what runs there alone.
  read.require("inventory", "database",
               options.source != libvirt || options.database.empty() ||
                   options.database.starts_with("sqlite:"),
               "with source = libvirt, sqlite:///PATH on this host");
  read.text({"DEFAULT", "host", "This host, as ports are bound to it; empty: the system's name"},
            options.host);
  read.choice({"inventory", "scope",
               "What is held here: all there is, or what the ports bound to this host need"},
              options.holds_part, {{"all", false}, {"host", true}});
  read.require("inventory", "scope",
               !options.holds_part ||
                   (options.source == database && options.database.starts_with("postgres")),
               "all; host only with source = database and postgresql://…, which other hosts share");
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  if (options.host.empty()) {
    options.host = name_of_system();
  }
  // Whatever it says: it is read so that it is not told of as an option that nobody knows, too.
  static_cast<void>(config.text("database", "connection"));
  const auto foreign = config.where("database", "connection");
  if (foreign && options.database.empty()) {
    log::warn(
        "{}: [database] connection is Nova's or Neutron's database and is not used; metatap "
        "keeps its own in {}. If it was metatap's, name it as [inventory] database",
        *foreign, (options.state_path / "metatap.db").string());
  }
  return options;
}

Status InventoryOptions::whole() const {
  if (!holds_part) {
    return {};
  }
  return fail(ErrorCode::denied,
              fmt::format("only what host {} needs of the inventory is held here ([inventory] "
                          "scope = host): ask where scope = all",
                          host));
}

Status InventoryOptions::editable() const {
  if (source == InventorySource::libvirt) {
    return fail(ErrorCode::denied,
                "the inventory is what libvirt says ([inventory] source): change the domain "
                "there, or its directory");
  }
  if (file) {
    return fail(ErrorCode::denied,
                fmt::format("the inventory is what {} says ([inventory] file): change it there. "
                            "Without that option the database keeps it, and this command changes "
                            "it",
                            file->string()));
  }
  return whole();
}

}  // namespace metatap
