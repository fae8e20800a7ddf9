// SPDX-License-Identifier: Apache-2.0
#include "admin/cli.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "admin/client.hpp"
#include "admin/drive_image.hpp"
#include "admin/table.hpp"
#include "base/text.hpp"

namespace metatap::admin {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kExitCodes = R"(Exit codes:
  0 done   1 refused or failed   2 wrong command line   3 no such object
  4 conflict   5 no metatapd behind the socket, or its database is away
  6 stored, but not all of it is in effect)";

/// One run of the program: what every verb has in common.
class Terminal {
 public:
  Terminal(std::istream& in, std::ostream& out, std::ostream& err)
      : in_(in), out_(out), err_(err) {}

  std::string socket = "/run/metatap/admin.sock";
  bool json = false;

  [[nodiscard]] Exit failed(const Error& error) const {
    if (json) {
      out_ << Json{{"error", {{"message", error.message}}}}.dump(2, ' ', false,
                                                                 Json::error_handler_t::replace)
           << "\n";
    }
    err_ << "metatap: " << error.message << "\n";
    return exit_for(error);
  }

  /// Calls the daemon; `show` makes text of its answer for a person.
  [[nodiscard]] Exit ask(std::string_view method, const std::string& target,
                         const std::function<std::string(const Json&)>& show,
                         std::string_view body = {}) const {
    const auto answer = call(method, target, body);
    if (!answer) {
      return failed(answer.error());
    }
    print(*answer, show);
    return Exit::done;
  }

  /// Has the daemon change the inventory, and says what of the change is not in effect.
  [[nodiscard]] Exit change(std::string_view method, const std::string& target,
                            std::string_view body = {}) const;

  void print(const Json& value, const std::function<std::string(const Json&)>& show) const {
    out_ << (json ? value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n" : show(value));
  }

  [[nodiscard]] Result<std::string> read(const std::string& file) const {
    if (file == "-") {
      return std::string{std::istreambuf_iterator<char>(in_), std::istreambuf_iterator<char>()};
    }
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
      return fail(ErrorCode::invalid,
                  "read " + file + ": " + std::generic_category().message(errno));
    }
    return std::string{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }

  [[nodiscard]] std::ostream& out() const { return out_; }

 private:
  [[nodiscard]] Result<Json> call(std::string_view method, const std::string& target,
                                  std::string_view body) const {
    const auto answer = AdminClient(socket).call(method, target, body);
    if (!answer) {
      return tl::make_unexpected(answer.error());
    }
    auto value = Json::parse(*answer, nullptr, false);
    if (value.is_discarded()) {
      return fail(ErrorCode::internal, "metatapd's answer is not JSON");
    }
    return value;
  }

  std::istream& in_;
  std::ostream& out_;
  std::ostream& err_;
};

std::string show_plan(const Json& answer) {
  auto text = answer.value("text", "");
  if (!answer.value("changes", false)) {
    return text;
  }
  return text + (answer.value("dry_run", false)
                     ? "nothing was changed: --dry-run\n"
                     : "applied as revision " + std::to_string(answer.value("revision", 0)) + "\n");
}

Exit Terminal::change(std::string_view method, const std::string& target,
                      std::string_view body) const {
  const auto answer = call(method, target, body);
  if (!answer) {
    return failed(answer.error());
  }
  print(*answer, show_plan);
  const auto problems = answer->value("problems", Json::array());
  for (const auto& problem : problems) {
    err_ << "metatap: not in effect: " << cell_of(problem) << "\n";
  }
  return problems.empty() ? Exit::done : Exit::incomplete;
}

std::string instance_path(const std::string& name) {
  return "/v1/instances/" + percent_encoded(name);
}

/// One object, key by key, what is nested as JSON.
std::string show_object(const Json& object) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : object.items()) {
    rows.push_back({key, value.is_structured() ? value.dump() : cell_of(value)});
  }
  return table({"FIELD", "VALUE"}, rows);
}

/// Failed, if one of them is an error.
Exit show_findings(const Terminal& terminal, const Json& findings) {
  terminal.print(findings, [](const Json& all) {
    return table_of(all, {"severity", "subject", "message", "advice"});
  });
  const bool healthy = std::ranges::none_of(
      findings, [](const Json& finding) { return finding.value("severity", "") == "error"; });
  return healthy ? Exit::done : Exit::failed;
}

Exit doctor(const Terminal& terminal) {
  const auto answer = AdminClient(terminal.socket).call("GET", "/v1/doctor");
  Json findings = Json::array();
  if (answer) {
    findings = Json::parse(*answer, nullptr, false);
  } else {
    findings.push_back({{"severity", "error"},
                        {"subject", "metatapd"},
                        {"message", answer.error().message},
                        {"advice", "systemctl status metatapd"}});
  }
  if (!findings.is_array()) {
    return terminal.failed({ErrorCode::internal, "metatapd's answer is not a list"});
  }
  const auto shown = show_findings(terminal, findings);
  return answer ? shown : exit_for(answer.error());
}

Exit config_drive(const Terminal& terminal, const std::string& name, const std::string& format,
                  const std::string& target, const std::optional<std::string>& admin_pass) {
  const Json wish = admin_pass ? Json{{"admin_pass", *admin_pass}} : Json::object();
  const auto answer = AdminClient(terminal.socket)
                          .call("POST", instance_path(name) + "/config-drive",
                                wish.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (!answer) {
    return terminal.failed(answer.error());
  }
  const auto drive = Json::parse(*answer, nullptr, false);
  if (!drive.is_object() || !drive.contains("label") || !drive.contains("files")) {
    return terminal.failed({ErrorCode::internal, "metatapd's answer is not a config drive"});
  }
  std::vector<ImageFile> files;
  for (const auto& file : drive["files"]) {
    const auto contents = file.value("contents", "");
    if (!is_base64(contents)) {
      return terminal.failed({ErrorCode::internal, "metatapd's answer is not base64"});
    }
    files.push_back({file.value("path", ""), base64_decoded(contents).value_or("")});
  }
  const auto written =
      write_image(format == "vfat" ? ImageFormat::vfat : ImageFormat::iso9660,
                  drive["label"].get<std::string>(), files, std::filesystem::path(target));
  if (!written) {
    return terminal.failed(written.error());
  }
  terminal.print({{"file", target}, {"format", format}, {"files", files.size()}},
                 [](const Json& done) {
                   return cell_of(done["file"]) + ": " + cell_of(done["format"]) + ", " +
                          cell_of(done["files"]) + " files\n";
                 });
  return Exit::done;
}

/// The columns that fit a terminal; the rest is in --json.
std::string short_ports(const Json& rows) {
  Json short_rows = rows;
  for (auto& row : short_rows) {
    for (const auto* key : {"device_owner", "device_id", "network_id", "before"}) {
      row.erase(key);
    }
    if (const auto access = row.find("access"); access != row.end()) {
      *access = (*access)["tokens"];
    }
  }
  return table_of(short_rows);
}

/// The commands and what was said of them on the command line.
class Commands {
 public:
  Commands(Terminal& terminal, const Preflight& preflight) : terminal_(terminal) {
    if (preflight) {
      before_a_start_.add_findings(preflight);
    }
  }

  void add_views(CLI::App& app) {
    app.add_subcommand("status", "what runs here and how it is")->callback([this] {
      exit_ = terminal_.ask("GET", "/v1/status", sections_of);
    });
    app.add_subcommand("ports", "the ports of this host and how each is served")->callback([this] {
      exit_ = terminal_.ask("GET", "/v1/ports", short_ports);
    });
    auto* looks = app.add_subcommand("doctor", "looks for what is wrong");
    looks->add_flag("--preflight", preflight_,
                    "what a start would meet on this kernel; asks no daemon, needs root");
    looks->callback([this] {
      exit_ = preflight_ ? show_findings(terminal_, before_a_start_.findings()) : doctor(terminal_);
    });
    auto* config = app.add_subcommand("config", "the daemon's configuration");
    config->require_subcommand(1);
    config->add_subcommand("show", "every option: its value, and the file and line it is from")
        ->callback([this] {
          exit_ =
              terminal_.ask("GET", "/v1/config", [](const Json& rows) { return table_of(rows); });
        });
  }

  void add_inventory(CLI::App& app) {
    auto* apply = app.add_subcommand("apply", "make the inventory what a document says");
    apply->add_option("FILE", file_, "a metatap-inventory/1 document, - for standard input")
        ->required();
    apply->add_flag("--dry-run", dry_run_, "only say what would change");
    apply->callback(
        [this] { send_file("PUT", dry_run_ ? "/v1/inventory?dry_run=1" : "/v1/inventory"); });
    app.add_subcommand("export", "the inventory as a document that apply takes")->callback([this] {
      const auto answer = AdminClient(terminal_.socket).call("GET", "/v1/inventory");
      if (answer) {
        terminal_.out() << *answer;
      } else {
        exit_ = terminal_.failed(answer.error());
      }
    });
  }

  void add_instance(CLI::App& app) {
    auto* instance = app.add_subcommand("instance", "one instance at a time");
    instance->require_subcommand(1);
    instance->add_subcommand("list", "all instances")->callback([this] {
      exit_ = terminal_.ask("GET", "/v1/instances", [](const Json& rows) {
        return table_of(rows, {"uuid", "name", "hostname", "addresses", "ec2_id", "password"});
      });
    });
    auto* show = instance->add_subcommand("show", "all that is stored of one instance");
    takes_name(*show);
    show->callback([this] { exit_ = terminal_.ask("GET", instance_path(name_), show_object); });
    for (const auto& [verb, method, help] :
         {std::tuple("add", "POST", "put in what is not there yet"),
          std::tuple("set", "PUT", "put in, replacing what is there")}) {
      auto* put = instance->add_subcommand(verb, help);
      put->add_option("FILE", file_,
                      "JSON of an instance, or a document with its ports and networks too; - for "
                      "standard input")
          ->required();
      put->callback([this, method = method] { send_file(method, "/v1/instances"); });
    }
    auto* remove = instance->add_subcommand("remove", "take out an instance and its ports");
    takes_name(*remove);
    remove->callback([this] { exit_ = terminal_.change("DELETE", instance_path(name_)); });
    auto* password =
        instance->add_subcommand("password", "the password the guest has posted, as it came");
    takes_name(*password);
    password->add_flag("--clear", clear_, "forget it, so that the guest may post again");
    password->callback([this] { show_or_clear_password(); });
  }

  void add_config_drive(CLI::App& app) {
    auto* drive = app.add_subcommand("config-drive", "write an instance's config drive to a file");
    takes_name(*drive);
    drive->add_option("--format", format_, "how the image is made")
        ->check(CLI::IsMember({"iso9660", "vfat"}))
        ->capture_default_str();
    drive
        ->add_option("-o,--output", target_,
                     "the image; it holds secrets, so only its owner reads it")
        ->required();
    drive->add_option("--admin-pass", file_,
                      "a file whose first line is the administrator's password to put in; - for "
                      "standard input");
    drive->callback([this] {
      const auto admin_pass = first_line();
      if (admin_pass) {
        exit_ = config_drive(terminal_, name_, format_, target_, *admin_pass);
      } else {
        static_cast<void>(terminal_.failed(admin_pass.error()));
        exit_ = Exit::usage;
      }
    });
  }

  [[nodiscard]] Exit exit() const { return exit_; }

 private:
  void takes_name(CLI::App& verb) {
    verb.add_option("INSTANCE", name_, "its uuid, or a name only it has")->required();
  }

  void send_file(const char* method, const char* path) {
    const auto text = terminal_.read(file_);
    if (!text) {
      static_cast<void>(terminal_.failed(text.error()));
      exit_ = Exit::usage;
      return;
    }
    exit_ = terminal_.change(method, path, *text);
  }

  /// Of the file, without its end; nothing where none is named. A command line is everybody's to
  /// read, and so no password is taken from there, nor said again.
  [[nodiscard]] Result<std::optional<std::string>> first_line() const {
    if (file_.empty()) {
      return std::nullopt;
    }
    auto text = terminal_.read(file_);
    if (!text) {
      return fail(ErrorCode::invalid,
                  "--admin-pass: expected a file that can be read, or - for standard input");
    }
    text->resize(std::min(text->find_first_of("\r\n"), text->size()));
    if (text->empty()) {
      return fail(ErrorCode::invalid, "--admin-pass: the first line is empty");
    }
    return *std::move(text);
  }

  void show_or_clear_password() {
    const auto path = instance_path(name_) + "/password";
    if (clear_) {
      exit_ = terminal_.ask("DELETE", path, [](const Json&) { return std::string("cleared\n"); });
    } else {
      exit_ = terminal_.ask("GET", path, [](const Json& answer) {
        const auto text = answer.value("password", "");
        return text.empty() ? "" : text + "\n";
      });
    }
  }

  Terminal& terminal_;
  Exit exit_ = Exit::done;
  std::string file_, name_, target_, format_ = "iso9660";
  bool dry_run_ = false, clear_ = false, preflight_ = false;
  Registry before_a_start_;
};

}  // namespace

Exit exit_for(const Error& error) {
  switch (error.code) {
    case ErrorCode::not_found:
      return Exit::not_found;
    case ErrorCode::conflict:
      return Exit::conflict;
    case ErrorCode::unavailable:
      return Exit::unreachable;
    default:
      return Exit::failed;
  }
}

int run_cli(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
            std::ostream& err, const std::string& version, const Preflight& preflight) {
  Terminal terminal(in, out, err);
  CLI::App app("Shows and changes what a running metatapd does.", "metatap");
  app.footer(kExitCodes);
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", version);
  app.add_option("--socket", terminal.socket, "metatapd's admin socket")->capture_default_str();
  app.add_flag("--json", terminal.json, "print JSON instead of tables");
  Commands commands(terminal, preflight);
  commands.add_views(app);
  commands.add_inventory(app);
  commands.add_instance(app);
  commands.add_config_drive(app);
  try {
    std::ranges::reverse(arguments);  // CLI11 takes them from the end
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, out, err);
    return code == 0 ? 0 : static_cast<int>(Exit::usage);
  }
  return static_cast<int>(commands.exit());
}

}  // namespace metatap::admin
