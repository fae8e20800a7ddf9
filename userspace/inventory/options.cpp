// SPDX-License-Identifier: Apache-2.0
#include "base/config.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"
#include "inventory/service.hpp"

namespace metatap {

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
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
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

}  // namespace metatap
