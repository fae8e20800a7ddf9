// SPDX-License-Identifier: Apache-2.0
#include "admin/cli.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "admin/audit_command.hpp"
#include "admin/client.hpp"
#include "admin/doctor_command.hpp"
#include "admin/drive_image.hpp"
#include "admin/guest_options.hpp"
#include "admin/import_command.hpp"
#include "admin/port_commands.hpp"
#include "admin/status_command.hpp"
#include "admin/table.hpp"
#include "admin/terminal.hpp"
#include "admin/top_command.hpp"
#include "admin/trace_command.hpp"
#include "base/text.hpp"

namespace metatap::admin {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kFooter = R"(Example: metatap explain 10.0.0.10

Exit codes:
  0 done   1 refused or failed; doctor, explain, audit: something is wrong
  2 wrong command line   3 no such object   4 conflict, or said of several
  5 no metatapd behind the socket, or it or its database does not answer
    (import: nobody answers)
  6 stored, but not all of it is in effect   7 no permission
  8 metatapd is of another version   9 nobody reads the output any more
  10 doctor: nothing worse than a warning)";

std::string show_plan(const Json& answer) {
  auto text = answer.value("text", "");
  if (!answer.value("changes", false)) {
    return text;
  }
  return text + (answer.value("dry_run", false)
                     ? "nothing was changed: --dry-run\n"
                     : "applied as revision " + std::to_string(answer.value("revision", 0)) + "\n");
}

/// Has the daemon change the inventory, and says what of the change is not in effect.
Exit change(const Terminal& terminal, std::string_view method, const std::string& target,
            std::string_view body = {}) {
  const auto answer = terminal.call(method, target, body);
  if (!answer) {
    return terminal.failed(answer.error());
  }
  terminal.print(*answer, show_plan);
  const auto problems = answer->value("problems", Json::array());
  for (const auto& problem : problems) {
    terminal.complain("not in effect: " + cell_of(problem));
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

/// What a start would meet.
Exit show_findings(const Terminal& terminal, const Json& findings) {
  terminal.print(findings, [&](const Json& all) { return findings_text(terminal, all, 0); });
  const bool healthy = std::ranges::none_of(
      findings, [](const Json& finding) { return finding.value("severity", "") == "error"; });
  return healthy ? Exit::done : Exit::failed;
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
  auto written =
      write_image(format == "vfat" ? ImageFormat::vfat : ImageFormat::iso9660,
                  drive["label"].get<std::string>(), files, std::filesystem::path(target));
  if (!written) {
    if (written.error().code == ErrorCode::unsupported) {
      written.error().code = ErrorCode::internal;  // it is not metatapd that cannot
    }
    return terminal.failed(written.error());
  }
  terminal.print({{"file", target}, {"format", format}, {"files", files.size()}},
                 [](const Json& done) {
                   return cell_of(done["file"]) + ": " + cell_of(done["format"]) + ", " +
                          cell_of(done["files"]) + " files\n";
                 });
  return Exit::done;
}

/// The commands and what was said of them on the command line.
class Commands {
 public:
  Commands(Terminal& terminal, const Preflight& preflight, const Import& import)
      : terminal_(terminal), import_(import) {
    if (preflight) {
      before_a_start_.add_findings(preflight);
    }
  }

  void add_views(CLI::App& app) {
    auto* status = add(app, "status", "what runs here and how it is", "metatap status --watch");
    status->callback([this] { exit_ = show_status(terminal_); });
    auto* ports = add(app, "ports", "the ports of this host and how each is served",
                      "metatap --json ports | jq '.[] | select(.state != \"steered\")'");
    ports->callback([this] { exit_ = show_ports(terminal_); });
    auto* port =
        add(app, "port", "all that is known of one guest's port", "metatap port 10.0.0.10");
    takes_port(*port);
    port->callback([this] { exit_ = show_port(terminal_, name_); });
    auto* explain = add(app, "explain", "what becomes of a request of that guest, and why",
                        "metatap explain tap3f2a1b4c-5d");
    takes_port(*explain);
    explain->callback([this] { exit_ = explain_port(terminal_, name_); });
    add_live(app);
    auto* doctor = add(app, "doctor", "looks for what is wrong", "metatap doctor");
    doctor->add_flag("--preflight", preflight_,
                     "what a start would meet on this kernel; asks no daemon, needs root");
    doctor->callback([this] {
      exit_ =
          preflight_ ? show_findings(terminal_, before_a_start_.findings()) : examine(terminal_);
    });
    for (auto* view : {status, ports, port, explain, doctor}) {
      can_be_watched(*view);
    }
    auto* config = add(app, "config", "the daemon's configuration", "metatap config show");
    config->require_subcommand(1);
    add(*config, "show", "every option: its value, and the file and line it is from",
        "metatap config show | grep -v default")
        ->callback([this] {
          exit_ = terminal_.ask("/v1/config", [](const Json& rows) { return table_of(rows); });
        });
  }

  /// What goes on until it is ended.
  void add_live(CLI::App& app) {
    auto* live = add(app, "trace", "packets and requests of guests as they happen",
                     "metatap trace --status 4xx");
    live->add_option("PORT", name_, "of this one alone; as `metatap port` takes it");
    live->add_option("--verdict", filter_.verdict, "only packets that had this one")
        ->check(CLI::IsMember({"pass", "drop", "steer"}));
    live->add_option("--status", filter_.status,
                     "only requests that were answered so: 404, or 4xx");
    live->add_option("--path", filter_.path, "only requests with this in their path");
    live->add_option("-n,--lines", most_, "end after so many");
    live->callback([this] { exit_ = trace(terminal_, name_, filter_, most_); });
    auto* busiest = add(app, "top",
                        "rates by port, again and again; sort by r requests, 5 p50, 9 p99, e "
                        "errors, d refused packets, b bytes; q ends",
                        "metatap top -n 1");
    busiest->add_option("-n,--rounds", most_, "end after so many tables");
    busiest->callback([this] { exit_ = top(terminal_, most_); });
  }

  void add_audit(CLI::App& app) {
    auto* who = add(app, "audit", "who read what: the access ledger, of a daemon or of files",
                    "metatap audit --verdict refused --since 24h");
    who->add_option("FILE|DIR", file_, "a file or directory; without: where the daemon writes");
    who->add_option("--port", audit_.port, "its id, or what that begins with");
    who->add_option("--instance", audit_.instance, "the same of its instance");
    who->add_option("--verdict", audit_.verdict, "what became of the request")
        ->check(CLI::IsMember({"answered", "refused", "failed", "cut"}));
    who->add_option("--since", audit_.since, "2026-11-26T12:00 (UTC), or 90s, 15m, 12h, 7d ago")
        ->transform([](const std::string& wanted) {
          auto since = since_text(wanted, seconds_now() * 1000);
          if (!since) {
            throw CLI::ValidationError(since.error().message);
          }
          return *since;
        });
    who->add_flag("--verify", verify_, "whether all is as it was written; 1: it is not");
    who->callback([this] { exit_ = audit(terminal_, file_, audit_, verify_); });
  }

  void add_inventory(CLI::App& app) {
    auto* apply = add(app, "apply", "make the inventory what a document says",
                      "metatap apply --dry-run inventory.json");
    apply->add_option("FILE", file_, "a metatap-inventory/1 document, - for standard input")
        ->required();
    apply->add_flag("--dry-run", dry_run_, "only say what would change");
    apply->callback(
        [this] { send_file("PUT", dry_run_ ? "/v1/inventory?dry_run=1" : "/v1/inventory"); });
    auto* whole = add(app, "export", "the inventory as a document that apply takes",
                      "metatap export >inventory.json");
    whole->callback([this] {
      const auto answer = AdminClient(terminal_.socket).call("GET", "/v1/inventory");
      if (answer) {
        terminal_.write(*answer);
      } else {
        exit_ = terminal_.failed(answer.error());
      }
    });
  }

  void add_import(CLI::App& app) {
    import_command_.add_to(app, terminal_, import_, [this](Exit exit) { exit_ = exit; });
  }

  void add_instance(CLI::App& app) {
    auto* instance = add(app, "instance", "one instance at a time", "metatap instance show web-1");
    instance->require_subcommand(1);
    add(*instance, "list", "all instances", "metatap --json instance list")->callback([this] {
      exit_ = terminal_.ask("/v1/instances", [](const Json& rows) {
        return table_of(rows, {"uuid", "name", "hostname", "addresses", "ec2_id", "password"});
      });
    });
    auto* show =
        add(*instance, "show", "all that is stored of one instance", "metatap instance show web-1");
    takes_name(*show);
    show->callback([this] { exit_ = terminal_.ask(instance_path(name_), show_object); });
    for (const auto& [verb, method, help] :
         {std::tuple("add", "POST", "put in what is not there yet"),
          std::tuple("set", "PUT", "put in, replacing what is there")}) {
      auto* put =
          add(*instance, verb, help, "metatap instance " + std::string(verb) + " web-1.json");
      put->add_option("NAME|FILE", file_,
                      "JSON of an instance or a guest, or a document; - for standard input. With "
                      "any of the options: the guest's name")
          ->required();
      guest_.add_to(*put);
      put->callback([this, method = method] { put_instance(method); });
    }
    auto* remove = add(*instance, "remove", "take out an instance and its ports",
                       "metatap instance remove web-1");
    takes_name(*remove);
    remove->callback([this] { exit_ = change(terminal_, "DELETE", instance_path(name_)); });
    auto* password = add(*instance, "password", "the password the guest has posted, as it came",
                         "metatap instance password web-1 | base64 -d | "
                         "openssl pkeyutl -decrypt -inkey key.pem");
    takes_name(*password);
    password->add_flag("--clear", clear_, "forget it, so that the guest may post again");
    password->callback([this] { show_or_clear_password(); });
  }

  void add_config_drive(CLI::App& app) {
    auto* drive = add(app, "config-drive", "write an instance's config drive to a file",
                      "metatap config-drive web-1 -o web-1.iso");
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
  static CLI::App* add(CLI::App& app, const char* name, const char* what,
                       const std::string& example) {
    auto* command = app.add_subcommand(name, what);
    command->footer("Example: " + example);
    return command;
  }

  void can_be_watched(CLI::App& view) {
    view.add_option("--watch", pause_, "show it again every so many seconds, until ended")
        ->expected(0, 1)
        ->default_str("2")
        ->check(CLI::Range(0.1, 86400.0))
        ->each([this](const std::string& seconds) {
          terminal_.again =
              std::chrono::milliseconds(static_cast<std::int64_t>(std::stod(seconds) * 1000));
        });
  }

  void takes_port(CLI::App& verb) {
    verb.add_option("PORT", name_,
                    "its id, 8 characters of its beginning at least, its host device, address or "
                    "MAC, or the name of its instance")
        ->required()
        ->check([](const std::string& text) { return text.empty() ? "PORT: it is empty" : ""; });
  }

  void takes_name(CLI::App& verb) {
    verb.add_option("INSTANCE", name_, "its uuid, or a name only it has")->required();
  }

  void send_file(const char* method, const char* path) {
    const auto text = terminal_.read(file_);
    send(method, path, text ? with_files(*text, directory_of(file_)) : text);
  }
  void put_instance(const char* method) {
    if (guest_.given()) {
      send(method, "/v1/instances",
           guest_.document(file_, [this](const auto& file) { return terminal_.read(file); }));
    } else {
      send_file(method, "/v1/instances");
    }
  }
  void send(const char* method, const char* path, const Result<std::string>& text) {
    if (!text) {
      static_cast<void>(terminal_.failed(text.error()));
      exit_ = Exit::usage;
      return;
    }
    exit_ = change(terminal_, method, path, *text);
  }
  static std::filesystem::path directory_of(const std::string& file) {
    return file == "-" ? std::filesystem::path() : std::filesystem::path(file).parent_path();
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
      exit_ =
          terminal_.request("DELETE", path, [](const Json&) { return std::string("cleared\n"); });
    } else {
      exit_ = terminal_.ask(path, [](const Json& answer) {
        const auto text = answer.value("password", "");
        return text.empty() ? "" : text + "\n";
      });
    }
  }

  Terminal& terminal_;
  const Import& import_;
  ImportCommand import_command_;
  GuestOptions guest_;
  Exit exit_ = Exit::done;
  std::string file_, name_, target_, format_ = "iso9660";
  double pause_ = 2;
  TraceFilter filter_;
  AuditFilter audit_;
  std::uint64_t most_ = 0;
  bool dry_run_ = false, clear_ = false, preflight_ = false, verify_ = false;
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
    case ErrorCode::denied:
      return Exit::denied;
    case ErrorCode::unsupported:
      return Exit::other_version;
    default:
      return Exit::failed;
  }
}

int run_cli(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
            std::ostream& err, const std::string& version, const Preflight& preflight,
            const Import& import) {
  Terminal terminal(in, out, err);
  CLI::App app("Shows and changes what a running metatapd does.", "metatap");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", version);
  app.add_option("--socket", terminal.socket, "metatapd's admin socket")->capture_default_str();
  app.add_flag("--json", terminal.json, "print JSON instead of tables");
  Commands commands(terminal, preflight, import);
  commands.add_views(app);
  commands.add_audit(app);
  commands.add_inventory(app);
  commands.add_import(app);
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
