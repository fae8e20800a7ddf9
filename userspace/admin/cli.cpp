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
  4 conflict   5 no metatapd behind the socket)";

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
    const auto answer = AdminClient(socket).call(method, target, body);
    if (!answer) {
      return failed(answer.error());
    }
    const auto value = Json::parse(*answer, nullptr, false);
    if (value.is_discarded()) {
      return failed({ErrorCode::internal, "metatapd's answer is not JSON"});
    }
    print(value, show);
    return Exit::done;
  }

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
  bool healthy = true;
  for (const auto& finding : findings) {
    healthy = healthy && finding.value("severity", "") != "error";
  }
  terminal.print(findings, [](const Json& all) {
    return table_of(all, {"severity", "subject", "message", "advice"});
  });
  return !answer ? exit_for(answer.error()) : healthy ? Exit::done : Exit::failed;
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
            std::ostream& err) {
  Terminal terminal(in, out, err);
  Exit exit = Exit::done;
  CLI::App app("Shows and changes what a running metatapd does.", "metatap");
  app.footer(kExitCodes);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--socket", terminal.socket, "metatapd's admin socket")->capture_default_str();
  app.add_flag("--json", terminal.json, "print JSON instead of tables");

  auto* status = app.add_subcommand("status", "what runs here and how it is");
  status->callback([&] { exit = terminal.ask("GET", "/v1/status", sections_of); });

  auto* ports = app.add_subcommand("ports", "the ports of the inventory and how each is served");
  ports->callback([&] {
    exit = terminal.ask("GET", "/v1/ports", [](const Json& rows) {
      Json short_rows = rows;
      for (auto& row : short_rows) {  // the rest is in --json
        for (const auto* key : {"device_owner", "device_id", "network_id", "before"}) {
          row.erase(key);
        }
      }
      return table_of(short_rows);
    });
  });

  std::string file;
  bool dry_run = false;
  auto* apply = app.add_subcommand("apply", "make the inventory what a document says");
  apply->add_option("FILE", file, "a metatap-inventory/1 document, - for standard input")
      ->required();
  apply->add_flag("--dry-run", dry_run, "only say what would change");
  apply->callback([&] {
    const auto text = terminal.read(file);
    if (!text) {
      static_cast<void>(terminal.failed(text.error()));
      exit = Exit::usage;
      return;
    }
    exit = terminal.ask("PUT", dry_run ? "/v1/inventory?dry_run=1" : "/v1/inventory", show_plan,
                        *text);
  });

  auto* export_verb = app.add_subcommand("export", "the inventory as a document that apply takes");
  export_verb->callback([&] {
    const auto answer = AdminClient(terminal.socket).call("GET", "/v1/inventory");
    if (answer) {
      terminal.out() << *answer;
    } else {
      exit = terminal.failed(answer.error());
    }
  });

  auto* instance = app.add_subcommand("instance", "one instance at a time");
  instance->require_subcommand(1);
  std::string name;
  bool clear = false;
  const auto takes_name = [&](CLI::App* verb) {
    verb->add_option("INSTANCE", name, "its uuid, or a name only it has")->required();
  };
  instance->add_subcommand("list", "all instances")->callback([&] {
    exit = terminal.ask("GET", "/v1/instances", [](const Json& rows) {
      return table_of(rows, {"uuid", "name", "hostname", "addresses", "ec2_id", "password"});
    });
  });
  auto* show = instance->add_subcommand("show", "all that is stored of one instance");
  takes_name(show);
  show->callback([&] { exit = terminal.ask("GET", instance_path(name), show_object); });
  for (const auto& [verb, method, help] :
       {std::tuple("add", "POST", "put in what is not there yet"),
        std::tuple("set", "PUT", "put in, replacing what is there")}) {
    auto* put = instance->add_subcommand(verb, help);
    put->add_option("FILE", file,
                    "JSON of an instance, or a document with its ports and networks too; - for "
                    "standard input")
        ->required();
    put->callback([&, method = method] {
      const auto text = terminal.read(file);
      if (!text) {
        static_cast<void>(terminal.failed(text.error()));
        exit = Exit::usage;
        return;
      }
      exit = terminal.ask(method, "/v1/instances", show_plan, *text);
    });
  }
  auto* remove = instance->add_subcommand("remove", "take out an instance and its ports");
  takes_name(remove);
  remove->callback([&] { exit = terminal.ask("DELETE", instance_path(name), show_plan); });
  auto* password =
      instance->add_subcommand("password", "the password the guest has posted, as it came");
  takes_name(password);
  password->add_flag("--clear", clear, "forget it, so that the guest may post again");
  password->callback([&] {
    const auto path = instance_path(name) + "/password";
    if (clear) {
      exit = terminal.ask("DELETE", path, [](const Json&) { return std::string("cleared\n"); });
    } else {
      exit = terminal.ask("GET", path, [](const Json& answer) {
        const auto text = answer.value("password", "");
        return text.empty() ? "" : text + "\n";
      });
    }
  });

  std::string format = "iso9660", target;
  std::optional<std::string> admin_pass;
  auto* drive = app.add_subcommand("config-drive", "write an instance's config drive to a file");
  takes_name(drive);
  drive->add_option("--format", format, "how the image is made")
      ->check(CLI::IsMember({"iso9660", "vfat"}))
      ->capture_default_str();
  drive
      ->add_option("-o,--output", target, "the image; it holds secrets, so only its owner reads it")
      ->required();
  drive->add_option("--admin-pass", admin_pass,
                    "the administrator's password to put in; - reads a line from standard input");
  drive->callback([&] {
    if (admin_pass == "-") {
      std::getline(in, admin_pass.emplace());
    }
    exit = config_drive(terminal, name, format, target, admin_pass);
  });

  auto* config = app.add_subcommand("config", "the daemon's configuration");
  config->require_subcommand(1);
  config->add_subcommand("show", "every option that was set, and where")->callback([&] {
    exit = terminal.ask("GET", "/v1/config", [](const Json& rows) { return table_of(rows); });
  });

  app.add_subcommand("doctor", "looks for what is wrong")->callback([&] {
    exit = doctor(terminal);
  });

  try {
    std::ranges::reverse(arguments);  // CLI11 takes them from the end
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, out, err);
    return code == 0 ? 0 : static_cast<int>(Exit::usage);
  }
  return static_cast<int>(exit);
}

}  // namespace metatap::admin
