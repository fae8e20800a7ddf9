// SPDX-License-Identifier: Apache-2.0
#include "proxy/port_records.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/boot_time.hpp"

namespace metatap::proxy {
namespace {

/// Another layout is another file.
constexpr std::uint64_t kLayout = (std::uint64_t{2} << 32U) | sizeof(PortRecord);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

void put(auto& to, std::string_view text) {
  to.fill('\0');
  std::copy_n(text.data(), std::min(text.size(), to.size() - 1), to.data());
}
std::string_view text_of(const auto& text) {
  return {text.data(), ::strnlen(text.data(), text.size())};
}

/// Among the processes that have the file open.
class FileLock {
 public:
  explicit FileLock(int fd) : fd_(fd) {
    while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~FileLock() { ::flock(fd_, LOCK_UN); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_;
};

}  // namespace

struct PortRecords::Head {
  std::uint64_t layout;
  std::array<char, 40> boot;
  std::atomic<std::uint64_t> used;  ///< places that have ever been somebody's
};
struct PortRecords::File {
  Head head;
  std::array<PortRecord, kMost> records;
};

void begin(PortRecord& record, std::string_view port, std::uint64_t plug, std::uint64_t tenant,
           std::int64_t came) {
  put(record.port, port);
  record.came = came;
  record.first_token = 0;
  for (auto& place : record.read) {
    place = 0;
  }
  clear(record.counts);
  record.plug = plug;
  record.tenant = tenant;
}

bool goes_on(const PortRecord& record, std::uint64_t plug, std::uint64_t tenant) {
  const auto its = record.tenant.load();
  return record.plug == plug && (its == tenant || its == 0 || tenant == 0);
}

bool was_read(const PortRecord& record, std::uint64_t subject) {
  return std::ranges::all_of(record.read, [](const auto& place) { return place.load() != 0; }) ||
         std::ranges::any_of(record.read,
                             [subject](const auto& place) { return place.load() == subject; });
}

void note_read(PortRecord& record, std::uint64_t subject) {
  for (auto& place : record.read) {
    std::uint64_t free = 0;
    if (place.compare_exchange_strong(free, subject) || free == subject) {
      return;
    }
  }
}

PortRecords::PortRecords(UniqueFd fd, File* file) : fd_(std::move(fd)), file_(file) {}

PortRecords::PortRecords(PortRecords&& other) noexcept
    : fd_(std::move(other.fd_)),
      file_(std::exchange(other.file_, nullptr)),
      places_(std::move(other.places_)),
      known_(other.known_) {}

PortRecords::~PortRecords() {
  if (file_ != nullptr) {
    ::munmap(file_, sizeof(File));
  }
}

PortRecords::Standing PortRecords::look_at(int fd, const std::filesystem::path& path,
                                           std::string_view boot) {
  struct stat ours{}, named{};
  if (::fstat(fd, &ours) != 0 || ::lstat(path.c_str(), &named) != 0 ||
      ours.st_ino != named.st_ino || ours.st_dev != named.st_dev) {
    return Standing::gone;
  }
  Head head{};
  const ssize_t got = ::pread(fd, &head, sizeof head, 0);
  if (got == 0) {
    return Standing::fresh;
  }
  const bool known = got == sizeof head && head.layout == kLayout && text_of(head.boot) == boot &&
                     head.used <= kMost;
  return known ? Standing::known : Standing::foreign;
}

Result<PortRecords> PortRecords::open(const std::filesystem::path& path, std::string_view boot) {
  constexpr int kTries = 10;
  const std::string step = "open the records of ports " + path.string();
  for (int attempt = 0; attempt < kTries; ++attempt) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    struct stat about{};
    if (!fd || ::fstat(fd.get(), &about) != 0) {
      return fail_errno(errno, step);
    }
    if (!S_ISREG(about.st_mode) || about.st_uid != ::geteuid() || (about.st_mode & 022) != 0) {
      return fail(ErrorCode::denied, step + ": others may have written it; remove it");
    }
    const FileLock lock(fd.get());
    switch (look_at(fd.get(), path, boot)) {
      case Standing::fresh:
      case Standing::known:
        return map(std::move(fd), boot, step);
      case Standing::foreign:
        // A worker that drains may have it mapped, and keeps it.
        ::unlink(path.c_str());
        break;
      case Standing::gone:
        break;
    }
  }
  return fail(ErrorCode::conflict, step + ": others replace it all the time");
}

Result<PortRecords> PortRecords::map(UniqueFd fd, std::string_view boot, const std::string& step) {
  // A file with holes: what no port has costs nothing.
  if (::ftruncate(fd.get(), sizeof(File)) != 0 ||
      ::fallocate(fd.get(), 0, 0, offsetof(File, records)) != 0) {
    return fail_errno(errno, step);
  }
  void* memory = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) {
    return fail_errno(errno, step);
  }
  auto* file = static_cast<File*>(memory);
  if (file->head.layout == 0) {  // a fresh one
    put(file->head.boot, boot);
    file->head.layout = kLayout;
  }
  return PortRecords(std::move(fd), file);
}

/// Also one that another process has made meanwhile.
PortRecord* PortRecords::find(std::string_view port) {
  for (; known_ < file_->head.used.load(std::memory_order_acquire); ++known_) {
    places_.insert_or_assign(std::string(text_of(file_->records[known_].port)), known_);
  }
  const auto found = places_.find(std::string(port));
  if (found == places_.end() || text_of(file_->records[found->second].port) != port) {
    return nullptr;  // another has taken its place
  }
  return &file_->records[found->second];
}

PortRecord* PortRecords::make(const std::function<bool(std::string_view)>& live) {
  const auto used = file_->head.used.load(std::memory_order_relaxed);
  if (used < kMost) {
    // Where the file system is full, a hole that is written to would be the end of us.
    const auto at = offsetof(File, records) + used * sizeof(PortRecord);
    if (::fallocate(fd_.get(), 0, static_cast<off_t>(at), sizeof(PortRecord)) != 0) {
      return nullptr;
    }
    file_->head.used.store(used + 1, std::memory_order_release);
    return &file_->records[used];
  }
  auto* const free = std::ranges::find_if(
      file_->records, [&](const PortRecord& record) { return !live(text_of(record.port)); });
  return free == file_->records.end() ? nullptr : free;
}

PortRecord* PortRecords::at(std::string_view port, std::uint64_t plug, std::uint64_t tenant,
                            std::int64_t came, const std::function<bool(std::string_view)>& live) {
  const std::lock_guard guard(mutex_);
  const FileLock lock(fd_.get());
  PortRecord* record = find(port);
  if (record != nullptr && goes_on(*record, plug, tenant)) {
    if (tenant != 0) {
      record->tenant = tenant;
    }
    return record;
  }
  const bool changed_hands = record != nullptr && record->plug == plug;
  if (record == nullptr) {
    record = make(live);
  }
  if (record != nullptr) {
    // Where the device is the same, or none is seen, it is the guest that came, and just now.
    begin(*record, port, plug, tenant, changed_hands ? boot_time() : came);
    places_.insert_or_assign(std::string(port),
                             static_cast<std::size_t>(record - file_->records.data()));
  }
  return record;
}

}  // namespace metatap::proxy
