// SPDX-License-Identifier: Apache-2.0
#include "ledger/audit.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "ledger/files.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::ledger {
namespace {

Result<std::vector<std::filesystem::path>> files_of(const std::filesystem::path& where) {
  const UniqueFd fd(::open(where.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat about{};
  if (!fd || ::fstat(fd.get(), &about) != 0) {
    return fail_errno(errno, "open " + where.string());
  }
  if (S_ISREG(about.st_mode)) {
    return std::vector{where};
  }
  if (!S_ISDIR(about.st_mode)) {
    return fail(ErrorCode::invalid, where.string() + " is no file and no directory");
  }
  const auto firsts = files_in(fd.get());
  if (!firsts) {
    return tl::make_unexpected(firsts.error());
  }
  std::vector<std::filesystem::path> files;
  for (const auto first : *firsts) {
    files.push_back(where / file_name(first));
  }
  if (files.empty()) {
    return fail(ErrorCode::not_found, "there is no ledger in " + where.string());
  }
  return files;
}

std::uint64_t number(const Json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}
std::string_view word(const Json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_string()
             ? std::string_view(found->get_ref<const std::string&>())
             : std::string_view();
}

class Reader {
 public:
  explicit Reader(const Visit& visit) : visit_(visit) {}

  /// False: enough.
  bool read(const std::filesystem::path& path, bool newest) {
    file_ = path.filename().string();
    line_ = 0;
    const auto text = read_file(path);
    if (!text) {
      // The oldest may go while we read.
      if (audit_.records != 0 || newest || text.error().code != ErrorCode::not_found) {
        break_at(text.error().message);
      }
      return true;
    }
    ++audit_.files;
    for (std::string_view rest = *text; !rest.empty();) {
      ++line_;
      const auto end = rest.find('\n');
      if (end == std::string_view::npos) {
        cut_off(newest);
        break;
      }
      if (!take(rest.substr(0, end))) {
        return false;
      }
      rest.remove_prefix(end + 1);
    }
    return true;
  }

  [[nodiscard]] Audit&& audit() && { return std::move(audit_); }

 private:
  void cut_off(bool newest) {
    if (newest) {
      audit_.half = true;
    } else {
      break_here("half a record");
    }
  }

  bool take(std::string_view line) {
    const auto parts = parts_of(line);
    auto record = parts ? Json::parse(parts->text, nullptr, false) : Json();
    const auto its_number = record.is_object() ? number(record, "record") : 0;
    if (its_number == 0) {
      break_here("it is no record");
      return visit_(Json(), line);
    }
    ++audit_.records;
    if (word(record, "kind") == kGap) {
      ++audit_.gaps;
      audit_.lost += number(record, "lost");
    }
    if (audit_.broken.empty()) {
      check(record, its_number, *parts);
    }
    return visit_(record, line);
  }

  void check(const Json& record, std::uint64_t its_number, const LineParts& parts) {
    const auto name = "record " + std::to_string(its_number) + ": ";
    if (audit_.first == 0) {  // what was before may have gone, in its time
      audit_.first = its_number;
      if (word(record, "kind") != kFile) {
        return break_here(name + "no file begins with it");
      }
      audit_.end = {its_number - 1, std::string(word(record, "previous"))};
    }
    const auto next = audit_.end.record + 1;
    if (its_number != next) {
      return break_here(name + "record " + std::to_string(next) + " should be here");
    }
    if (link_of(audit_.end.link, parts.text) != parts.link) {
      return break_here(name + "it is not what was written after the record before it");
    }
    audit_.end = {its_number, std::string(parts.link)};
  }

  void break_here(std::string_view why) {
    break_at(file_ + ":" + std::to_string(line_) + ": " + std::string(why));
  }
  void break_at(std::string where) {
    if (audit_.broken.empty()) {
      audit_.broken = std::move(where);
    }
  }

  const Visit& visit_;
  Audit audit_;
  std::string file_;
  std::size_t line_ = 0;
};

}  // namespace

Result<Audit> read_ledger(const std::filesystem::path& where, const Visit& visit) {
  const auto files = files_of(where);
  if (!files) {
    return tl::make_unexpected(files.error());
  }
  Reader reader(visit);
  for (const auto& path : *files) {
    if (!reader.read(path, path == files->back())) {
      break;
    }
  }
  return std::move(reader).audit();
}

}  // namespace metatap::ledger
