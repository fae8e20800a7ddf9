// SPDX-License-Identifier: Apache-2.0
#include "ledger/book.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/boot_time.hpp"
#include "ledger/files.hpp"
#include "ledger/record.hpp"
#include "sys/lock.hpp"

namespace metatap::ledger {
namespace {

/// Written at once, at most; half a record is looked for in so much of a file's end.
constexpr std::size_t kBatch = 256U << 10U;
constexpr std::size_t kTail = 2 * kBatch;

/// A name of a directory that ends in `/` is that of what a symbolic link leads to.
std::filesystem::path without_slash(const std::filesystem::path& path) {
  auto plain = path.lexically_normal();
  return plain.has_filename() ? plain : plain.parent_path();
}

bool is_ours(const struct stat& about) {
  return about.st_uid == ::geteuid() && (about.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/// The end of a file, without half a record.
struct Tail {
  std::uint64_t size = 0;  ///< of the whole records
  ChainEnd end;
  bool ended = false;
};

/// ErrorCode::invalid: the last line is no record. `size`: of the file.
Result<Tail> read_tail(int file, std::uint64_t size) {
  std::string text(std::min<std::uint64_t>(size, kTail), '\0');
  const auto from = size - text.size();
  if (::pread(file, text.data(), text.size(), static_cast<off_t>(from)) !=
      static_cast<ssize_t>(text.size())) {
    return fail_errno(errno, "read the ledger's end");
  }
  text.resize(text.rfind('\n') + 1);
  Tail tail;
  tail.size = from + text.size();
  if (tail.size == 0) {
    return tail;
  }
  const auto whole = fail(ErrorCode::invalid, "its last line is no record");
  if (text.empty()) {
    return whole;
  }
  const auto begin = text.rfind('\n', text.size() - 2);
  const auto line = std::string_view(text).substr(begin == std::string::npos ? 0 : begin + 1);
  const auto parts = parts_of(line.substr(0, line.size() - 1));
  const auto json = parts ? Json::parse(parts->text, nullptr, false) : Json();
  if (!json.is_object() || !json.contains("record") || !json["record"].is_number_unsigned()) {
    return whole;
  }
  tail.end = {json["record"].get<std::uint64_t>(), std::string(parts->link)};
  tail.ended = json.value("kind", Json()) == Json(kEnd);
  return tail;
}

Result<UniqueFd> open_file(int directory, std::uint64_t first, int flags) {
  const auto name = file_name(first);
  UniqueFd file(::openat(directory, name.c_str(),
                         flags | O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  struct stat about{};
  if (!file || ::fstat(file.get(), &about) != 0) {
    return fail_errno(errno, "open " + name);
  }
  if (!S_ISREG(about.st_mode) || !is_ours(about) || about.st_nlink != 1) {
    return fail(ErrorCode::denied, name + ": others may have written it; move it away");
  }
  return file;
}

std::uint64_t size_of(int file) {
  struct stat about{};
  return ::fstat(file, &about) == 0 && about.st_nlink != 0
             ? static_cast<std::uint64_t>(about.st_size)
             : UINT64_MAX;
}

}  // namespace

/// The directory is this process's, as long as this lives.
class Book::Turn {
 public:
  explicit Turn(int directory) : directory_(directory), ours_(sys::lock(directory)) {}
  ~Turn() {
    if (ours_) {
      ::flock(directory_, LOCK_UN);
    }
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const { return ours_; }

 private:
  const int directory_;
  const bool ours_;
};

Book::Book(std::filesystem::path directory, BookLimits limits)
    : path_(without_slash(directory)), limits_(limits) {}

/// Opens the directory, again where its name is another's by now.
Status Book::enter() {
  struct stat named{};
  struct stat opened{};
  if (directory_ &&
      (::lstat(path_.c_str(), &named) != 0 || ::fstat(directory_.get(), &opened) != 0 ||
       named.st_ino != opened.st_ino || named.st_dev != opened.st_dev)) {
    leave();
  }
  if (directory_) {
    return {};
  }
  const std::string step = "open the ledger " + path_.string();
  if (::mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno(errno, step);
  }
  UniqueFd directory(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory && (errno == ENOTDIR || errno == ELOOP)) {
    return fail(ErrorCode::denied, step + ": it is a symbolic link, or no directory");
  }
  if (!directory || ::fstat(directory.get(), &opened) != 0) {
    return fail_errno(errno, step);
  }
  if (!is_ours(opened)) {
    return fail(ErrorCode::denied, step + ": it must be user " + std::to_string(::geteuid()) +
                                       "'s, and nobody else may write there");
  }
  UniqueFd writers(
      ::openat(directory.get(), "writers", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!writers) {
    return fail_errno(errno, step + ": writers");
  }
  directory_ = std::move(directory);
  writers_ = std::move(writers);
  return {};
}

void Book::leave() {
  file_.reset();
  writers_.reset();
  directory_.reset();
  greeted_ = false;
  end_ = {};
}

/// What another process has added since we did is what we go on from.
Status Book::find_end() {
  const auto files = files_in(directory_.get());
  if (!files) {
    return tl::make_unexpected(files.error());
  }
  if (file_ && !files->empty() && files->back() == first_ && size_of(file_.get()) == size_) {
    return {};
  }
  return open_newest(*files);
}

Status Book::open_newest(const std::vector<std::uint64_t>& files) {
  file_.reset();
  Tail tail;
  // A file that was begun and has no record yet goes on from the one before it.
  for (auto first = files.rbegin(); first != files.rend() && tail.end.record == 0; ++first) {
    auto file = open_file(directory_.get(), *first, 0);
    if (!file) {
      return tl::make_unexpected(std::move(file.error()));
    }
    auto found = read_tail(file->get(), size_of(file->get()));
    if (!found) {
      return tl::make_unexpected(std::move(found.error()).in(file_name(*first) + ": move it away"));
    }
    if (first == files.rbegin()) {
      if (found->size != size_of(file->get()) &&
          ::ftruncate(file->get(), static_cast<off_t>(found->size)) != 0) {
        return fail_errno(errno, "cut off half a record");
      }
      file_ = *std::move(file);
      first_ = *first;
      size_ = found->size;
    }
    tail = *std::move(found);
  }
  if (tail.end.record == 0 && file_) {
    tail.end.record = first_ - 1;
  }
  if (tail.end.record < end_.record) {  // somebody has taken away what we know there was
    file_.reset();
    return {};
  }
  end_ = std::move(tail.end);
  ended_ = tail.ended;
  return {};
}

/// Says that this process writes from now on, and what is to be said of those before it.
Status Book::greet() {
  std::vector<std::string> entries;
  if (sys::lock(writers_.get()) && end_.record != 0 && !ended_) {
    entries.push_back(entry_of(kGap, {{"lost", nullptr}, {"reason", "killed"}}));
  }
  ::flock(writers_.get(), LOCK_SH | LOCK_NB);
  entries.push_back(entry_of(kStart, {{"pid", ::getpid()}, {"boot", this_boot()}}));
  auto added = put(entries);
  greeted_ = added.status.has_value();
  return std::move(added.status);
}

Book::Added Book::add(std::span<const std::string> entries) {
  if (auto entered = enter(); !entered) {
    return {0, std::move(entered)};
  }
  const Turn turn(directory_.get());
  if (!turn) {
    return {0, fail(ErrorCode::unavailable, path_.string() + ": another process is adding")};
  }
  auto ready = find_end();
  if (ready && !greeted_) {
    ready = greet();
  }
  return ready ? put(entries) : Added{0, std::move(ready)};
}

Status Book::close() {
  if (!greeted_) {
    return {};
  }
  if (auto entered = enter(); !entered || !greeted_) {
    return entered;
  }
  const Turn turn(directory_.get());
  if (!turn) {
    return fail(ErrorCode::unavailable, path_.string() + ": another process is adding");
  }
  auto done = find_end();
  if (done && sys::lock(writers_.get())) {
    done = put(std::vector{entry_of(kEnd)}).status;
  }
  if (done && file_) {
    ::fdatasync(file_.get());
  }
  // Before the turn ends: whoever closes next then sees that it is the last one.
  writers_.reset();
  greeted_ = false;
  return done;
}

Book::Added Book::put(std::span<const std::string> entries) {
  Added added;
  while (added.status && added.entries < entries.size()) {
    if (!file_ || size_ >= limits_.file_size) {
      added.status = begin_file();
    }
    if (added.status) {
      std::size_t written = 0;
      added.status = write(entries.subspan(added.entries), written);
      added.entries += written;
    }
  }
  return added;
}

Status Book::begin_file() {
  if (file_) {
    ::fdatasync(file_.get());
  }
  const auto first = end_.record + 1;
  auto file = open_file(directory_.get(), first, O_CREAT | O_EXCL);
  if (!file) {
    return tl::make_unexpected(std::move(file.error()));
  }
  file_ = *std::move(file);
  first_ = first;
  size_ = 0;
  return {};
}

/// As many as fit into the file and into one write, all of them or none.
Status Book::write(std::span<const std::string> entries, std::size_t& written) {
  ChainEnd end = end_;
  std::string lines;
  if (size_ == 0) {
    lines = next_line(end, entry_of(kFile, {{"previous", end.link}}));
  }
  std::size_t count = 0;
  for (const auto& entry : entries) {
    lines += next_line(end, entry);
    ++count;
    if (size_ + lines.size() >= limits_.file_size || lines.size() >= kBatch) {
      break;
    }
  }
  const auto wrote = ::write(file_.get(), lines.data(), lines.size());
  if (wrote != static_cast<ssize_t>(lines.size())) {
    const int error = wrote < 0 ? errno : ENOSPC;
    if (wrote > 0 && ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
      file_.reset();  // what is there is looked at anew
    }
    return fail_errno(error, "write " + (path_ / file_name(first_)).string());
  }
  if (size_ == 0) {
    remove_oldest();
  }
  size_ += lines.size();
  end_ = std::move(end);
  ended_ = false;
  written = count;
  return {};
}

void Book::remove_oldest() const {
  const auto files = files_in(directory_.get());
  for (std::size_t i = 0; files && i + limits_.files < files->size(); ++i) {
    ::unlinkat(directory_.get(), file_name((*files)[i]).c_str(), 0);
  }
}

}  // namespace metatap::ledger
