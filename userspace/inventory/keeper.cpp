// SPDX-License-Identifier: Apache-2.0
#include "inventory/keeper.hpp"

#include <malloc.h>
#include <sys/stat.h>

#include <utility>

#include "base/file.hpp"
#include "inventory/difference.hpp"

namespace metatap {
namespace {

InventoryChange no_change(const std::shared_ptr<const Inventory>& state) {
  return {state, state, {}, {}, {}, {}, {}};
}

}  // namespace

bool is_passing(const Error& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::timeout;
}

std::optional<FileVersion> FileVersion::of(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    return std::nullopt;
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  return FileVersion{status.st_dev, status.st_ino, status.st_size,
                     status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec};
}

Keeper::Keeper(std::unique_ptr<Store> store, std::filesystem::path snapshot,
               std::optional<std::filesystem::path> file)
    : store_(std::move(store)),
      file_(std::move(file)),
      snapshot_(std::move(snapshot), store_->health().where, "the inventory's database") {}

void Keeper::on_foreign_change(std::function<void()> callback) {
  store_->on_foreign_change(std::move(callback));
}

Result<InventoryChange> Keeper::load() {
  auto loaded = store_->load();
  if (!loaded) {
    return tl::make_unexpected(std::move(loaded.error()));
  }
  return noted(latest_ ? difference(latest_, *std::move(loaded)) : no_change(*loaded));
}

Result<InventoryChange> Keeper::noted(Result<InventoryChange> change) {
  if (change && latest_ != change->after) {
    if (index_ && latest_ == change->before) {
      index_->follow(*change);
    } else {
      index_.reset();
    }
    latest_ = change->after;
    snapshot_.keep(latest_);
  }
  return change;
}

const PortIndex& Keeper::index() {
  return index_ ? *index_ : index_.emplace(*latest_);
}

void Keeper::confirm() {
  if (latest_) {
    snapshot_.keep(latest_);
  }
}

/// Commits what `change` makes of the present state. Should another host have changed the database
/// meanwhile, it is made again, of that.
template <class F>
Result<InventoryChange> Keeper::edit(F&& change) {
  constexpr int kTries = 5;
  for (int attempt = 1;; ++attempt) {
    if (!latest_) {
      if (auto loaded = load(); !loaded) {
        return loaded;
      }
    }
    const auto base = latest_;
    auto wanted = change(*base);
    if (!wanted) {
      return tl::make_unexpected(std::move(wanted.error()));
    }
    auto stored = store_->replace(*wanted);
    if (stored || stored.error().code != ErrorCode::conflict || attempt == kTries) {
      return noted(std::move(stored));
    }
    if (auto loaded = load(); !loaded) {
      return loaded;
    }
    if (latest_->revision == base->revision) {
      return stored;  // the conflict is in the document itself
    }
  }
}

Result<InventoryChange> Keeper::replace(std::string_view document, const DocumentFiles& files) {
  auto change = edit([&](const Inventory& base) { return parse_document(document, base, files); });
  // It leaves as much litter as the document is large: better swept up now than by the next one who
  // wants some memory.
  ::malloc_trim(0);
  return change;
}

Result<InventoryChange> Keeper::put(std::string_view document, Existing existing) {
  return edit(
      [&](const Inventory& base) { return merge_document(base, index(), document, existing); });
}

Result<InventoryChange> Keeper::remove_instance(std::string_view uuid) {
  return edit([&](const Inventory& base) -> Result<Inventory> {
    auto wanted = base;
    const auto found = wanted.instances.find(uuid);
    if (found == wanted.instances.end()) {
      return fail(ErrorCode::not_found, "there is no instance " + std::string(uuid));
    }
    const auto id = found->first;
    index().each(PortIndex::By::owner, "", id,
                 [&](const Port& port) { wanted.ports.erase(port.id); });
    wanted.instances.erase(id);
    return wanted;
  });
}

Result<InventoryChange> Keeper::set_password(std::string_view uuid, std::string_view text) {
  return noted(store_->set_password(uuid, text));
}

Result<InventoryChange> Keeper::clear_password(std::string_view uuid) {
  return noted(store_->clear_password(uuid));
}

Keeper::Look Keeper::look() {
  const auto version = FileVersion::of(*file_);
  if (version && version == settled_) {
    return {false, refused_, std::nullopt};
  }
  const auto text = read_file(*file_);
  if (!text) {
    return {true, tl::make_unexpected(text.error()), std::nullopt};
  }
  // Who may write the document may name files beside it.
  auto stored = replace(
      *text, [this](const std::string& path) { return read_file(file_->parent_path() / path); });
  if (stored || !is_passing(stored.error())) {
    settled_ = version;
    refused_ = stored ? Status() : tl::make_unexpected(stored.error());
  }
  if (!stored) {
    return {true, tl::make_unexpected(std::move(stored.error())), std::nullopt};
  }
  return {true, Status(), *std::move(stored)};
}

}  // namespace metatap
