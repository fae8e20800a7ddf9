// SPDX-License-Identifier: Apache-2.0
#include "inventory/store_thread.hpp"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "base/log.hpp"

namespace metatap {

struct StoreThread::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Task> tasks;
  bool stopping = false, ended = false;

  void work() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return stopping || !tasks.empty(); });
      if (stopping) {
        break;
      }
      auto task = std::move(tasks.front());
      tasks.pop_front();
      lock.unlock();
      try {
        task();
      } catch (const std::exception& error) {
        log::error("store: a task failed: {}", error.what());
      }
      task = nullptr;  // what it holds goes before the next begins
      lock.lock();
    }
    ended = true;
    changed.notify_all();
  }
};

StoreThread::StoreThread(std::string name)
    : shared_(std::make_shared<Shared>()), thread_([shared = shared_] { shared->work(); }) {
  pthread_setname_np(thread_.native_handle(), name.c_str());
}

StoreThread::~StoreThread() {
  stop(std::chrono::seconds(1));
}

void StoreThread::run(Task task) {
  const std::lock_guard lock(shared_->mutex);
  if (!shared_->stopping) {
    shared_->tasks.push_back(std::move(task));
    shared_->changed.notify_all();
  }
}

void StoreThread::stop(std::chrono::milliseconds patience) {
  if (!thread_.joinable()) {
    return;
  }
  std::deque<Task> never;
  {
    std::unique_lock lock(shared_->mutex);
    shared_->stopping = true;
    never.swap(shared_->tasks);
    shared_->changed.notify_all();
    shared_->changed.wait_for(lock, patience, [this] { return shared_->ended; });
    if (!shared_->ended) {
      thread_.detach();
      return;
    }
  }
  thread_.join();
}

}  // namespace metatap
