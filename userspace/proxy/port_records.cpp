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
#include <new>
#include <utility>

namespace metatap::proxy {
namespace {

/// Another layout is another file.
constexpr std::uint64_t kLayout = (std::uint64_t{1} << 32U) | sizeof(PortRecord);
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

struct PortRecords::File {
  std::uint64_t layout;
  std::array<char, 40> boot;
  std::atomic<std::uint64_t> used;  ///< places that have ever been somebody's
  std::array<PortRecord, kMost> records;
};

void begin(PortRecord& record, std::string_view port, std::uint64_t plug, std::uint64_t tenant,
           std::int64_t came) {
  new (&record) PortRecord{};
  put(record.port, port);
  record.plug = plug;
  record.tenant = tenant;
  record.came = came;
}

bool goes_on(const PortRecord& record, std::uint64_t plug, std::uint64_t tenant) {
  return record.plug == plug && (record.tenant == tenant || record.tenant == 0 || tenant == 0);
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

Result<PortRecords> PortRecords::open(const std::filesystem::path& path, std::string_view boot) {
  const std::string step = "open the records of ports " + path.string();
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  struct stat about{};
  if (!fd || ::fstat(fd.get(), &about) != 0) {
    return fail_errno(errno, step);
  }
  if (!S_ISREG(about.st_mode) || about.st_uid != ::geteuid() || (about.st_mode & 022) != 0) {
    return fail(ErrorCode::denied, step + ": others may have written it; remove it");
  }
  const FileLock lock(fd.get());
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
  if (file->layout != kLayout || text_of(file->boot) != boot || file->used > kMost) {
    // Nobody of this boot has it mapped.
    if (::ftruncate(fd.get(), 0) != 0 || ::ftruncate(fd.get(), sizeof(File)) != 0 ||
        ::fallocate(fd.get(), 0, 0, offsetof(File, records)) != 0) {
      const int error = errno;
      ::munmap(memory, sizeof(File));
      return fail_errno(error, step);
    }
    put(file->boot, boot);
    file->layout = kLayout;
  }
  return PortRecords(std::move(fd), file);
}

/// Also one that another process has made meanwhile.
PortRecord* PortRecords::find(std::string_view port) {
  for (; known_ < file_->used.load(std::memory_order_acquire); ++known_) {
    places_.insert_or_assign(std::string(text_of(file_->records[known_].port)), known_);
  }
  const auto found = places_.find(std::string(port));
  if (found == places_.end() || text_of(file_->records[found->second].port) != port) {
    return nullptr;  // another has taken its place
  }
  return &file_->records[found->second];
}

PortRecord* PortRecords::make(const std::function<bool(std::string_view)>& live) {
  const auto used = file_->used.load(std::memory_order_relaxed);
  if (used < kMost) {
    // Where the file system is full, a hole that is written to would be the end of us.
    const auto at = offsetof(File, records) + used * sizeof(PortRecord);
    if (::fallocate(fd_.get(), 0, static_cast<off_t>(at), sizeof(PortRecord)) != 0) {
      return nullptr;
    }
    file_->used.store(used + 1, std::memory_order_release);
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
    record->tenant = tenant == 0 ? record->tenant : tenant;
    return record;
  }
  if (record == nullptr) {
    record = make(live);
  }
  if (record != nullptr) {
    begin(*record, port, plug, tenant, came);
    places_.insert_or_assign(std::string(port),
                             static_cast<std::size_t>(record - file_->records.data()));
  }
  return record;
}

}  // namespace metatap::proxy
