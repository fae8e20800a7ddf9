// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <functional>
#include <memory>

namespace metatap {

/// Says when to look at a file. Events are hints, of its directory, because editors and
/// configuration management replace a file, they do not write it; every few seconds it is time to
/// look in any case. On the executor's thread, which waits for no file system.
class FileWatch {
 public:
  FileWatch(const boost::asio::any_io_executor& executor, std::filesystem::path file,
            std::function<void()> look);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  void start();
  void stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap
